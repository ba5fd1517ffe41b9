//! `arm`: the escape hatch. Any request to Azure Resource Manager, with the same journaling and the same waiting.

mod delete;
mod get;
mod patch;
mod post;
mod put;

use relight_engine::Registered;

use crate::prelude::*;

/// Returns the operations of this area.
pub(crate) fn all(azure: &Azure) -> Vec<Registered> {
    vec![
        Registered::new(get::Get(azure.clone())),
        Registered::new(put::Put(azure.clone())),
        Registered::new(patch::Patch(azure.clone())),
        Registered::new(post::Post(azure.clone())),
        Registered::new(delete::Delete(azure.clone())),
    ]
}

/// How long an operation may take, unless a call says otherwise.
const LIMIT: Duration = Duration::from_secs(3600);

/// One request, as these operations describe it to each other.
struct Asked<'a> {
    method: Method,
    path: &'a str,
    api_version: &'a str,
    body: Option<&'a Value>,
    wait: Option<Span>,
}

impl Asked<'_> {
    fn limit(&self) -> Duration {
        self.wait.map_or(LIMIT, Span::get)
    }

    async fn begin(&self, azure: &Azure, cx: &Cx) -> Result<Outcome<Value>> {
        let versions = [self.api_version];
        let write = Write {
            method: self.method,
            path: self.path,
            api: Api { kind: self.path, versions: &versions },
            body: self.body,
            finish: FinalState::Unset,
        };
        match azure.arm.write(cx, write).await? {
            Started::Done(value) => Ok(Outcome::done(value)),
            Started::Pending(lro, wait) => Ok(Outcome::pending(&lro, wait)?.within(self.limit())),
        }
    }

    async fn resume(&self, azure: &Azure, cx: &Cx, at: &Value) -> Result<Outcome<Value>> {
        match azure.arm.follow(cx, restored("arm", at)?).await? {
            Advance::Done(value) => Ok(Outcome::done(value)),
            Advance::Wait(lro, wait, note) => {
                Ok(Outcome::pending(&lro, wait)?.within(self.limit()).saying(note.status, note.percent))
            }
        }
    }
}
