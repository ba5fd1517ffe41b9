//! Servers that lie about their files, and what is said about files.

use russh::server as ssh;
use russh::{Channel, ChannelId};
use russh_sftp::protocol::{File, Handle, Name, Status};
use russh_sftp::server::{Handler, StatusReply};

use super::super::testing::connect;
use super::*;

/// A server whose files are other than it says.
#[derive(Default)]
struct Liar {
    channel: Option<Channel<ssh::Msg>>,
}

impl ssh::Handler for Liar {
    type Error = russh::Error;

    async fn auth_password(&mut self, _: &str, _: &str) -> Result<ssh::Auth, russh::Error> {
        Ok(ssh::Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<ssh::Msg>,
        reply: ssh::ChannelOpenHandle,
        _: &mut ssh::Session,
    ) -> Result<(), russh::Error> {
        self.channel = Some(channel);
        reply.accept().await;
        Ok(())
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        _: &str,
        session: &mut ssh::Session,
    ) -> Result<(), russh::Error> {
        session.channel_success(id)?;
        if let Some(channel) = self.channel.take() {
            tokio::spawn(russh_sftp::server::run(channel.into_stream(), Lies { told: 0 }));
        }
        Ok(())
    }
}

struct Lies {
    told: usize,
}

fn named(name: &str, mode: u32) -> File {
    File::new(name, FileAttributes { permissions: Some(mode), ..FileAttributes::empty() })
}

impl Handler for Lies {
    type Error = StatusReply;

    fn unimplemented(&self) -> StatusReply {
        StatusCode::OpUnsupported.into()
    }

    async fn opendir(&mut self, id: u32, path: String) -> Result<Handle, StatusReply> {
        Ok(Handle { id, handle: path })
    }

    async fn readdir(&mut self, id: u32, handle: String) -> Result<Name, StatusReply> {
        self.told += 1;
        let files = match (handle.as_str(), self.told) {
            ("/endless", n) => (0..100).map(|m| named(&format!("{n}-{m}"), 0o100_644)).collect(),
            ("/out", 1) => vec![named("../../.ssh/authorized_keys", 0o100_644)],
            ("/deep", 1) => vec![named("..", 0o40_755), named("again", 0o40_755)],
            (deep, n) if deep.starts_with("/deep/") && n % 2 == 1 => vec![named("again", 0o40_755)],
            _ => return Err(StatusCode::Eof.into()),
        };
        Ok(Name { id, files })
    }

    async fn close(&mut self, id: u32, _: String) -> Result<Status, StatusReply> {
        Ok(Status {
            id,
            status_code: StatusCode::Ok,
            error_message: String::new(),
            language_tag: String::new(),
        })
    }
}

async fn sftp() -> (Sftp, Session) {
    let session = connect(Liar::default()).await.session("friend").await;
    (Sftp::open(&session).await.unwrap(), session)
}

#[tokio::test]
async fn a_server_that_lists_what_is_elsewhere_is_refused() {
    let (sftp, _session) = sftp().await;
    let error = sftp.tree("/out").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert!(error.message().contains("`../../.ssh/authorized_keys`, which leads out"), "{error}");
}

#[tokio::test]
async fn a_list_without_an_end_is_not_heard_to_it() {
    for path in ["/endless", "/deep"] {
        let (sftp, _session) = sftp().await;
        let error = sftp.tree(path).await.unwrap_err();
        assert!(error.message().contains("more than 10000 files and folders"), "{path}: {error}");
    }
}

#[test]
fn a_folder_is_summed_up_as_sha256sum_lists_it() {
    let whole = |n: u8| Whole { bytes: 1, sha256: hex(&[n; 32]), resumed_at: u64::from(n) };
    let files = vec![("b/c".to_owned(), whole(2)), ("a".to_owned(), whole(1))];
    let carried = Carried::folder("to", files, vec![("x".into(), "a link".into())]);
    let list = format!("{}  a\n{}  b/c\n", "01".repeat(32), "02".repeat(32));
    assert_eq!(carried.sha256, hex(&Sha256::digest(list)));
    assert_eq!((carried.bytes, carried.resumed_at, carried.files.len(), carried.skipped.len()), (2, 3, 2, 1));
}
