//! One session of somebody who signed in: a command, a shell, or the transfer of files.

use std::{future::Future, pin::Pin, sync::Arc};

use russh::{Channel, ChannelMsg, ChannelWriteHalf, server::Msg};

use super::{
    cmd,
    place::Place,
    sftp,
    shell::{Input, Lost, Output, Queue, Shell, Sink, Streams},
    terminal,
};
use crate::machine::User;

/// The bytes of one stream of a channel.
struct Stream {
    channel: Arc<ChannelWriteHalf<Msg>>,
    is_errors: bool,
}

impl Sink for Stream {
    fn take(&self, bytes: Vec<u8>) -> Pin<Box<dyn Future<Output = Result<(), Lost>> + Send + '_>> {
        Box::pin(async move {
            let sent = match self.is_errors {
                true => self.channel.extended_data_bytes(1, bytes).await,
                false => self.channel.data_bytes(bytes).await,
            };
            sent.map_err(|_| Lost)
        })
    }
}

/// What a session is for.
enum Wish {
    Command(String),
    Shell,
    Files,
}

/// Serves one session until either side closes it.
pub(super) async fn serve(mut channel: Channel<Msg>, place: Place, user: User) {
    let mut has_terminal = false;
    let wish = loop {
        match channel.wait().await {
            Some(ChannelMsg::RequestPty { .. }) => has_terminal = true,
            Some(ChannelMsg::Exec { command, .. }) => {
                break Wish::Command(String::from_utf8_lossy(&command).into_owned());
            }
            Some(ChannelMsg::RequestShell { .. }) => break Wish::Shell,
            Some(ChannelMsg::RequestSubsystem { name, .. }) if name == sftp::NAME => break Wish::Files,
            None | Some(ChannelMsg::Close) => return,
            Some(_) => {}
        }
    };
    let (mut read, write) = channel.split();
    let write = Arc::new(write);
    let received = Arc::new(Queue::default());
    let stream = |is_errors| Arc::new(Stream { channel: Arc::clone(&write), is_errors });
    let work = tokio::spawn({
        let (output, errors) = (stream(false), stream(true));
        let (place, received) = (place.clone(), Arc::clone(&received));
        async move {
            let before = place.changes();
            let script = match wish {
                Wish::Command(script) => Some(script),
                Wish::Shell => None,
                Wish::Files => return sftp::serve(&received, output, place, user).await,
            };
            let status = if has_terminal {
                terminal::run(&received, output, &place, &user, script).await
            } else {
                let (output, errors) = (Output::Stream(output), Output::Stream(errors));
                alone(&place, &user, script, &Streams { input: Input::from(received), output, errors }).await
            };
            place.save(before);
            status
        }
    });
    let abort = work.abort_handle();
    let pumping = async {
        loop {
            match read.wait().await {
                Some(ChannelMsg::Data { data }) => received.push(data.to_vec()),
                Some(ChannelMsg::Eof) => received.close(),
                Some(ChannelMsg::Signal { .. }) => return Some(130),
                None | Some(ChannelMsg::Close) => return None,
                Some(_) => {}
            }
        }
    };
    let status = tokio::select! {
        ended = work => Some(ended.unwrap_or(255)),
        status = pumping => {
            abort.abort();
            status
        }
    };
    if let Some(status) = status {
        let _ = write.exit_status(status).await;
        let _ = write.eof().await;
        let _ = write.close().await;
    }
}

/// Runs a script, or what comes in as one.
async fn alone(place: &Place, user: &User, script: Option<String>, streams: &Streams) -> u32 {
    if place.computer.is_windows {
        return cmd::run(&place.computer, user, script, streams).await;
    }
    let mut shell = Shell::new(&place.computer, user);
    if let Some(script) = script {
        return shell.run(&script, streams).await;
    }
    // A shell without a terminal takes its lines as they come.
    loop {
        let before = place.changes();
        let line = streams.input.line().await;
        if line.is_empty() {
            return shell.status();
        }
        if let Some(status) = shell.enter(&String::from_utf8_lossy(&line), streams).await {
            return status;
        }
        place.save(before);
    }
}
