//! `local::clusters`: lists Azure Local instances.

use super::Cluster;
use crate::prelude::*;

/// Lists the Azure Local instances of a resource group, or of the subscription, in the order of their names.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// Resource group. The configured group when left out; `*` means the whole subscription.
    #[serde(default)]
    group: Option<String>,
}

/// `local::clusters`.
pub(crate) struct ListClusters(pub(crate) Azure);

impl Operation for ListClusters {
    type Args = Args;
    type Output = Vec<Cluster>;

    const NAME: &'static str = "local::clusters";
    const SUMMARY: &'static str = "Lists the instances of Azure Local.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureRead];
    const REDO: Redo = Redo::Resend;
    const CODES: &'static [ErrorCode] = &[ErrorCode::BUSY];

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "Name the instances that are out of touch with Azure.",
                r#"local::clusters(#{ group: "*" }).filter(|c| c.connectivity != "Connected").map(|c| c.name)"#,
            )
            .on("edge")
            .gives(json!(["branch"])),
        ]
    }

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<Vec<Cluster>>> {
        let group = self.0.group(args.group.as_deref()).filter(|group| *group != "*");
        let mut clusters = self.0.list_clusters(cx).await?;
        clusters.retain(|cluster| group.is_none_or(|group| cluster.group.eq_ignore_ascii_case(group)));
        clusters.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Outcome::done(clusters))
    }
}
