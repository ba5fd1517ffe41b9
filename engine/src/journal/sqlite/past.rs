//! Whether somebody else writes to the database. SQLite tells nobody of that; it only answers when it is asked.

use std::sync::{Arc, Mutex};

use rusqlite::Connection;

use super::lock;
use super::schema::Site;
use super::values::Rows;
use crate::error::Result;

/// What the database was like when it was looked at last: a connection of its own, which never writes, and the
/// number that it has then. That differs once any other connection has committed.
#[derive(Default)]
pub(super) struct Past(Mutex<Option<(Connection, i64)>>);

impl Past {
    /// Returns whether anything was committed since the last look, by whomever. The first look finds everything new.
    pub(super) fn look(&self, site: &Arc<Site>) -> Result<bool> {
        site.check_present()?;
        let mut last = lock(&self.0);
        let before = last.take();
        let look = || -> Rows<(Connection, i64, bool)> {
            let (db, before) = match before {
                Some((db, before)) => (db, Some(before)),
                None => (site.reader()?, None),
            };
            let version = db.pragma_query_value(None, "data_version", |row| row.get(0))?;
            Ok((db, version, before != Some(version)))
        };
        let (db, version, is_new) = look().map_err(|fault| site.explain("read", fault))?;
        *last = Some((db, version));
        Ok(is_new)
    }
}
