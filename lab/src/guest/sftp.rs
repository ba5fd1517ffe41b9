//! The transfer of files: version 3 of SFTP, as OpenSSH speaks it.

use std::{collections::HashMap, sync::Arc};

use russh_sftp::{
    protocol::{
        Attrs, Data, File, FileAttributes, Handle, Name, OpenFlags, Packet, Status, StatusCode, Version,
    },
    server::{Handler, StatusReply},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex, split};

use super::{
    place::Place,
    shell::{Queue, Sink},
};
use crate::machine::{Node, Trouble, User, join};

/// The name of the subsystem.
pub(super) const NAME: &str = "sftp";

/// The most bytes of one answer, and of what is under way.
const MOST: usize = 256 << 10;

/// How many files may be open at once.
const OPEN: usize = 256;

/// OpenSSH's way to rename over a file that is there.
const REPLACE: &str = "posix-rename@openssh.com";
/// OpenSSH's way to say that everything has been written.
const SYNC: &str = "fsync@openssh.com";

/// Serves one client until it ends. Returns the status.
pub(super) async fn serve(received: &Queue, output: Arc<dyn Sink>, place: Place, user: User) -> u32 {
    let (here, there) = duplex(MOST);
    let saved = place.changes();
    let transfer = Transfer { place, user, open: HashMap::new(), next: 0, saved };
    russh_sftp::server::run(there, transfer).await;
    let (mut said, mut heard) = split(here);
    let asking = async {
        while let Some(bytes) = received.pop().await {
            if heard.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let _ = heard.shutdown().await;
    };
    let answering = async {
        let mut bytes = vec![0; 32 << 10];
        while let Ok(count @ 1..) = said.read(&mut bytes).await {
            if output.take(bytes[..count].to_vec()).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(asking, answering);
    0
}

struct Transfer {
    place: Place,
    user: User,
    open: HashMap<String, Open>,
    next: u64,
    /// How many changes are saved.
    saved: u64,
}

/// Something open.
enum Open {
    File {
        path: String,
        flags: OpenFlags,
    },
    /// The entries that are still to be told.
    Folder(Vec<File>),
}

/// Also when the client just goes away, what it wrote stays.
impl Drop for Transfer {
    fn drop(&mut self) {
        self.place.save(self.saved);
    }
}

impl From<Trouble> for StatusReply {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::NotFound => StatusCode::NoSuchFile.into(),
            Trouble::Denied => StatusCode::PermissionDenied.into(),
            // Version 3 has no codes for these.
            other => StatusCode::Failure.with_message(other.to_string()),
        }
    }
}

type Reply<T> = Result<T, StatusReply>;

impl Transfer {
    fn path(&self, word: &str) -> String {
        let home = self.place.computer.home(&self.user);
        self.place.computer.disk.files().absolute(&home, word)
    }

    fn handle(&mut self, id: u32, open: Open) -> Reply<Handle> {
        if self.open.len() >= OPEN {
            return Err(StatusCode::Failure.with_message("Too many open files"));
        }
        self.next += 1;
        let handle = self.next.to_string();
        self.open.insert(handle.clone(), open);
        Ok(Handle { id, handle })
    }

    fn file(&self, handle: &str) -> Reply<(&str, OpenFlags)> {
        match self.open.get(handle) {
            Some(Open::File { path, flags }) => Ok((path, *flags)),
            _ => Err(StatusCode::Failure.with_message("Invalid handle")),
        }
    }

    /// Saves what was changed, and says that all is well.
    fn done(&mut self, id: u32, done: Result<(), Trouble>) -> Reply<Status> {
        done?;
        self.place.save(self.saved);
        self.saved = self.place.changes();
        Ok(good(id))
    }

    fn change(&mut self, path: &str, attributes: &FileAttributes) -> Result<(), Trouble> {
        let computer = &self.place.computer;
        let (now, mut files) = (computer.seconds(), computer.disk.files());
        if let Some(size) = attributes.size {
            let size = usize::try_from(size).map_err(|_| Trouble::Full)?;
            files.resize(&self.user, path, size, now)?;
        }
        // Only the numbers of those who are there can be given.
        let owner = match attributes.uid {
            None => None,
            Some(number) => {
                drop(files);
                let owner = computer.users().into_iter().find(|name| User::new(name).number() == number);
                files = computer.disk.files();
                Some(owner.ok_or(Trouble::Denied)?)
            }
        };
        files.change(&self.user, path, attributes.permissions, owner.as_deref(), attributes.mtime)
    }
}

fn good(id: u32) -> Status {
    Status {
        id,
        status_code: StatusCode::Ok,
        error_message: "Ok".to_owned(),
        language_tag: "en-US".to_owned(),
    }
}

fn attributes(node: &Node) -> FileAttributes {
    let number = User::new(&node.owner).number();
    let kind = if node.is_folder() { 0o040_000 } else { 0o100_000 };
    FileAttributes {
        size: Some(node.size() as u64),
        uid: Some(number),
        user: Some(node.owner.clone()),
        gid: Some(number),
        group: Some(node.owner.clone()),
        permissions: Some(kind | node.mode),
        atime: Some(node.changed),
        mtime: Some(node.changed),
    }
}

impl Handler for Transfer {
    type Error = StatusReply;

    fn unimplemented(&self) -> StatusReply {
        StatusCode::OpUnsupported.into()
    }

    async fn init(&mut self, _: u32, _: HashMap<String, String>) -> Reply<Version> {
        let mut version = Version::new();
        for name in [REPLACE, SYNC] {
            version.extensions.insert(name.to_owned(), "1".to_owned());
        }
        Ok(version)
    }

    async fn open(
        &mut self,
        id: u32,
        name: String,
        flags: OpenFlags,
        wanted: FileAttributes,
    ) -> Reply<Handle> {
        let path = self.path(&name);
        let computer = &self.place.computer;
        let (now, user) = (computer.seconds(), &self.user);
        {
            let mut files = computer.disk.files();
            let is_there = files.look(user, &path).is_ok();
            if is_there && flags.contains(OpenFlags::CREATE | OpenFlags::EXCLUDE) {
                return Err(Trouble::Exists.into());
            }
            if flags.contains(OpenFlags::READ) && is_there {
                files.read(user, &path)?;
            }
            if flags.intersects(OpenFlags::WRITE | OpenFlags::APPEND) {
                if !is_there && !flags.contains(OpenFlags::CREATE) {
                    return Err(Trouble::NotFound.into());
                }
                let mode = wanted.permissions.unwrap_or(0o644) & 0o777;
                files.create(user, &path, mode, now)?;
                if flags.contains(OpenFlags::TRUNCATE) {
                    files.resize(user, &path, 0, now)?;
                }
            } else {
                files.read(user, &path)?;
            }
        }
        self.handle(id, Open::File { path, flags })
    }

    async fn close(&mut self, id: u32, handle: String) -> Reply<Status> {
        if self.open.remove(&handle).is_none() {
            return Err(StatusCode::Failure.with_message("Invalid handle"));
        }
        self.done(id, Ok(()))
    }

    async fn read(&mut self, id: u32, handle: String, offset: u64, length: u32) -> Reply<Data> {
        let (path, flags) = self.file(&handle)?;
        if !flags.contains(OpenFlags::READ) {
            return Err(StatusCode::PermissionDenied.into());
        }
        let files = self.place.computer.disk.files();
        // What was opened stays open, whatever becomes of its mode.
        let bytes = files.read(&User::root(), path)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = bytes.get(start..).filter(|rest| !rest.is_empty()).ok_or(StatusCode::Eof)?;
        Ok(Data { id, data: rest[..rest.len().min(length as usize).min(MOST)].to_vec() })
    }

    async fn write(&mut self, id: u32, handle: String, offset: u64, data: Vec<u8>) -> Reply<Status> {
        let (path, flags) = self.file(&handle)?;
        if !flags.intersects(OpenFlags::WRITE | OpenFlags::APPEND) {
            return Err(StatusCode::PermissionDenied.into());
        }
        let computer = &self.place.computer;
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        let at = Some(at).filter(|_| !flags.contains(OpenFlags::APPEND));
        computer.disk.files().write(&User::root(), path, at, &data, computer.seconds())?;
        Ok(good(id))
    }

    async fn lstat(&mut self, id: u32, path: String) -> Reply<Attrs> {
        self.stat(id, path).await
    }

    async fn stat(&mut self, id: u32, path: String) -> Reply<Attrs> {
        let path = self.path(&path);
        let files = self.place.computer.disk.files();
        Ok(Attrs { id, attrs: attributes(files.look(&self.user, &path)?) })
    }

    async fn fstat(&mut self, id: u32, handle: String) -> Reply<Attrs> {
        let (path, _) = self.file(&handle)?;
        let files = self.place.computer.disk.files();
        Ok(Attrs { id, attrs: attributes(files.look(&User::root(), path)?) })
    }

    async fn setstat(&mut self, id: u32, path: String, wanted: FileAttributes) -> Reply<Status> {
        let path = self.path(&path);
        let done = self.change(&path, &wanted);
        self.done(id, done)
    }

    async fn fsetstat(&mut self, id: u32, handle: String, wanted: FileAttributes) -> Reply<Status> {
        let path = self.file(&handle)?.0.to_owned();
        let done = self.change(&path, &wanted);
        self.done(id, done)
    }

    async fn opendir(&mut self, id: u32, path: String) -> Reply<Handle> {
        let path = self.path(&path);
        let entries = {
            let files = self.place.computer.disk.files();
            let names = files.list(&self.user, &path)?;
            let inside = names.into_iter().map(|name| (name.to_owned(), join(&path, name)));
            let own = [(".".to_owned(), path.clone()), ("..".to_owned(), path.clone())];
            own.into_iter()
                .chain(inside)
                .filter_map(|(name, path)| {
                    let node = files.look(&self.user, &path).ok()?;
                    let longname = super::shell::long(node, &name);
                    Some(File { longname, filename: name, attrs: attributes(node) })
                })
                .collect()
        };
        self.handle(id, Open::Folder(entries))
    }

    async fn readdir(&mut self, id: u32, handle: String) -> Reply<Name> {
        match self.open.get_mut(&handle) {
            Some(Open::Folder(entries)) if entries.is_empty() => Err(StatusCode::Eof.into()),
            Some(Open::Folder(entries)) => {
                let some = entries.drain(..entries.len().min(100)).collect();
                Ok(Name { id, files: some })
            }
            _ => Err(StatusCode::Failure.with_message("Invalid handle")),
        }
    }

    async fn remove(&mut self, id: u32, path: String) -> Reply<Status> {
        let path = self.path(&path);
        let done = self.place.computer.disk.files().remove(&self.user, &path, false);
        self.done(id, done)
    }

    async fn mkdir(&mut self, id: u32, path: String, wanted: FileAttributes) -> Reply<Status> {
        let path = self.path(&path);
        let mode = wanted.permissions.unwrap_or(0o755) & 0o777 & !0o022;
        let computer = &self.place.computer;
        let done = computer.disk.files().make_folder(&self.user, &path, mode, computer.seconds());
        self.done(id, done)
    }

    async fn rmdir(&mut self, id: u32, path: String) -> Reply<Status> {
        let path = self.path(&path);
        let done = self.place.computer.disk.files().remove(&self.user, &path, true);
        self.done(id, done)
    }

    async fn realpath(&mut self, id: u32, path: String) -> Reply<Name> {
        Ok(Name { id, files: vec![File::dummy(self.path(&path))] })
    }

    async fn rename(&mut self, id: u32, from: String, to: String) -> Reply<Status> {
        let (from, to) = (self.path(&from), self.path(&to));
        let done = self.place.computer.disk.files().rename(&self.user, &from, &to, false);
        self.done(id, done)
    }

    async fn extended(&mut self, id: u32, request: String, data: Vec<u8>) -> Reply<Packet> {
        let done = match request.as_str() {
            REPLACE => {
                let mut rest = data.as_slice();
                let (from, to) = (text(&mut rest)?, text(&mut rest)?);
                let (from, to) = (self.path(&from), self.path(&to));
                self.place.computer.disk.files().rename(&self.user, &from, &to, true)
            }
            SYNC => Ok(()),
            _ => return Err(StatusCode::OpUnsupported.into()),
        };
        self.done(id, done).map(Packet::Status)
    }
}

/// Takes a text off the front of what came with a request.
fn text(bytes: &mut &[u8]) -> Reply<String> {
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or(StatusCode::BadMessage)?;
    let length = u32::from_be_bytes(*length) as usize;
    let (text, rest) = rest.split_at_checked(length).ok_or(StatusCode::BadMessage)?;
    *bytes = rest;
    String::from_utf8(text.to_vec()).map_err(|_| StatusCode::BadMessage.into())
}
