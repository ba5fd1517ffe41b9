//! The outbox in memory: rows in the order in which they were written.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::journal::outbox::{
    Bounds, CameTo, Delivery, DeliveryFilter, DeliveryState, Notification, Subscription, Taking,
};

/// Who is told, and what of.
#[derive(Default)]
pub(super) struct Rows {
    subscriptions: BTreeMap<String, Subscription>,
    rows: Vec<Delivery>,
}

impl Rows {
    pub(super) fn subscribe(&mut self, subscriptions: &[Subscription]) -> Vec<(String, u64)> {
        let wanted: BTreeMap<String, Subscription> =
            subscriptions.iter().map(|one| (one.receiver.clone(), one.clone())).collect();
        let gone: Vec<String> =
            self.subscriptions.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect();
        self.subscriptions = wanted;
        let mut waited = Vec::with_capacity(gone.len());
        for name in gone {
            let waiting = self.of(&name).filter(|row| row.state == DeliveryState::Waiting).count();
            self.rows.retain(|row| row.receiver != name);
            waited.push((name, waiting as u64));
        }
        waited
    }

    pub(super) fn subscriptions(&self) -> Vec<Subscription> {
        self.subscriptions.values().cloned().collect()
    }

    pub(super) fn notify(&mut self, notification: &Notification) -> usize {
        let mut told = 0;
        for subscription in self.subscriptions.values().filter(|one| one.fits(notification)) {
            let row = Delivery::new(&subscription.receiver, notification);
            if !self.rows.iter().any(|other| is_same(other, &row)) {
                self.rows.push(row);
                told += 1;
            }
        }
        told
    }

    pub(super) fn take(&mut self, taking: &Taking) -> Option<Delivery> {
        let due = |row: &Delivery| row.due.filter(|due| row.receiver == taking.receiver && *due <= taking.at);
        let first = self.rows.iter_mut().filter(|row| due(row).is_some()).min_by_key(|row| row.due)?;
        *first = first.clone().take(taking);
        Some(first.clone())
    }

    pub(super) fn settle(&mut self, taken: &Delivery, came_to: &CameTo, at: Timestamp) -> bool {
        let found = self.rows.iter_mut().find(|row| is_same(row, taken));
        let settled = found.and_then(|row| {
            *row = row.clone().settle(taken.attempts, came_to, at)?;
            Some(())
        });
        settled.is_some()
    }

    pub(super) fn next(&self, receiver: &str) -> Option<Timestamp> {
        self.of(receiver).filter_map(|row| row.due).min()
    }

    pub(super) fn list(&self, filter: &DeliveryFilter) -> Vec<Delivery> {
        let most = if filter.limit == 0 { usize::MAX } else { filter.limit };
        self.rows.iter().rev().filter(|row| filter.fits(row)).take(most).cloned().collect()
    }

    pub(super) fn tally(&self) -> Vec<(String, DeliveryState, u64)> {
        let mut counts: BTreeMap<(String, &str), (DeliveryState, u64)> = BTreeMap::new();
        for row in &self.rows {
            let count = counts.entry((row.receiver.clone(), row.state.as_str())).or_insert((row.state, 0));
            count.1 += 1;
        }
        counts.into_iter().map(|((receiver, _), (state, count))| (receiver, state, count)).collect()
    }

    pub(super) fn bound(&mut self, receiver: &str, bounds: &Bounds, at: Timestamp) -> usize {
        let mut waiting = 0;
        let mut given_up = 0;
        for row in self.rows.iter_mut().rev().filter(|row| row.receiver == receiver) {
            if row.state == DeliveryState::Waiting {
                waiting += 1;
                if waiting > bounds.waiting {
                    *row = row.clone().crowded_out(at);
                    given_up += 1;
                }
            }
        }
        let mut settled = 0;
        let mut keep: Vec<bool> = self
            .rows
            .iter()
            .rev()
            .map(|row| match row.settled.filter(|_| row.receiver == receiver) {
                Some(when) => {
                    settled += 1;
                    when >= bounds.before && settled <= bounds.settled
                }
                None => true,
            })
            .collect();
        self.rows.retain(|_| keep.pop().unwrap_or(true));
        given_up
    }

    fn of(&self, receiver: &str) -> impl Iterator<Item = &Delivery> {
        self.rows.iter().filter(move |row| row.receiver == receiver)
    }
}

fn is_same(one: &Delivery, other: &Delivery) -> bool {
    one.receiver == other.receiver && one.notification.id == other.notification.id
}
