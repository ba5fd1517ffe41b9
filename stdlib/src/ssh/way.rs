//! All that it takes to sign in on a machine, the first time and again.

use std::sync::Arc;

use super::known_hosts::HostName;
use super::line::Line;
use super::target::Reach;
use super::trust::read_key;
use super::{By, Session, Trust};
use crate::prelude::*;

/// The way to a session.
pub(super) struct Way {
    pub(super) azure: Azure,
    pub(super) cx: Cx,
    pub(super) id: ResourceId,
    pub(super) reach: Reach,
    pub(super) by: By,
    pub(super) trust: Trust,
}

impl Way {
    /// Opens a line, which signs in again when the session is gone.
    pub(super) async fn line(self) -> Result<Line> {
        let way = Arc::new(self);
        Line::open(move || {
            let way = way.clone();
            Box::pin(async move { way.sign_in().await })
        })
        .await
    }

    async fn sign_in(&self) -> Result<Session> {
        let login = self.by.login(&self.azure.arm).await?;
        let tunnel = self.azure.ssh_connection(&self.cx, &self.id, self.reach).await?;
        Session::open(tunnel, self.id.name(), &login, self.trust.clone()).await
    }
}

impl Azure {
    /// Returns how a machine is known: by keys that were given, or by those that this user trusts.
    ///
    /// # Errors
    /// `Invalid` when one of the keys is none.
    pub(super) fn trust(&self, machine: &ResourceId, port: u16, keys: Option<&[String]>) -> Result<Trust> {
        Ok(match keys {
            None => Trust::Known(self.known_hosts.clone(), HostName::of(machine, port)),
            Some(keys) => Trust::Only(keys.iter().map(|key| read_key(key)).collect::<Result<_>>()?),
        })
    }
}
