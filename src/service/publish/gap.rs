//! A publisher whose slot has lost changes goes on: with a new slot, and with topics that say what is missing.
//!
//! ```text
//! lost slot dropped -> new slot made and held -> the gap in every partition of every topic -> changes behind it
//! ```
//!
//! The topics name the new slot's position only behind the gap. So a kill leaves one of three states. The old slot is
//! gone, or the new one is ahead of a partition at least: the next start finds a lost slot again, and says the gap in
//! every partition again. Or every partition has it: any start goes on. A partition that has it twice costs a reader
//! nothing but one more look.

use bytes::Bytes;
use tokio_postgres::{Client, error::SqlState};

use crate::{
    config::{Config, OnSlotLost},
    lsn::Lsn,
    mapping::Mapping,
    pipeline::Ended,
    postgres::{removal, setup},
    service::{ServiceError, renew, setup as made},
    start::{Refusal, SlotState, TopicRefusal},
    topic::{
        gap::{GAP_HEADER, Gap},
        routing::{Layout, Routed},
    },
};

use super::{start::Start, topics::Ends};

/// Topics that a slot does not lead on from.
pub struct Behind {
    /// Where they are; `None`: nothing was ever published.
    from: Option<Lsn>,
    /// Where the slot is, if there is one that can be read.
    to: Option<Lsn>,
    why: String,
}

/// Whether the publisher goes on without being asked.
pub fn is_configured(config: &Config) -> bool {
    config.policies.on_slot_lost == OnSlotLost::Repair
}

impl Behind {
    /// What an error says of the slot, if nothing but lost changes keeps the publisher from going on.
    pub fn of(error: &ServiceError, ends: &Ends) -> Option<Self> {
        let ServiceError::Topic(refusal) = error else { return None };
        let (to, why) = match &**refusal {
            TopicRefusal::SlotLost { why, .. } => (None, format!("the slot was lost: {why}")),
            TopicRefusal::SlotGone { .. } => (None, "the slot was dropped".to_owned()),
            TopicRefusal::SlotAhead { confirmed, .. } => {
                (Some(*confirmed), "the slot was made again, or advanced".to_owned())
            }
            _ => return None,
        };
        Some(Behind { from: ends.tail().lowest(), to, why })
    }

    /// Where the publisher begins, as far as that is known before there is a new slot.
    pub fn start(&self) -> Start {
        match self.from {
            Some(from) => Start::At(self.to.unwrap_or(from)),
            None => Start::First,
        }
    }

    /// Sees to a slot that can be read: where it is.
    pub async fn slot(
        &self,
        config: &Config,
        client: &Client,
        mapping: &Mapping,
        tell: impl Fn(String),
    ) -> Result<Lsn, ServiceError> {
        tracing::warn!(
            cause = self.why,
            "going on behind changes that are lost: each topic says so, and `wal2graph apply` compares all tables"
        );
        made::create_publication(config, client, mapping).await?;
        if let Some(confirmed) = self.to {
            return Ok(confirmed);
        }
        let not_alone = || {
            let slot = &config.slot;
            ServiceError::NotYet(format!("another instance has made the slot {slot} or reads it"))
        };
        let slot = setup::slot(client, &config.slot).await?;
        match slot.map(|slot| slot.state(config.source().database())) {
            None => {}
            Some(SlotState::Lost(_)) => {
                let dropped = removal::drop_slot(client, &config.slot).await;
                dropped.map_err(|error| match error.code() {
                    Some(&SqlState::OBJECT_IN_USE) => not_alone(),
                    _ => error.into(),
                })?;
            }
            Some(_) => return Err(not_alone()),
        }
        made::create_slot(config, client, tell).await
    }

    /// What is missing before a slot at this position.
    pub fn gap(self, to: Lsn) -> Option<Gap> {
        Some(Gap { from: self.from?, to, why: self.why })
    }
}

/// What a publisher says first: a heartbeat. One that tells of a gap is for every partition of every topic.
pub fn first(mut heartbeat: Routed, gap: Option<&Gap>, layout: &Layout) -> Vec<Routed> {
    let Some(gap) = gap else { return vec![heartbeat] };
    heartbeat.record.headers.push((GAP_HEADER.to_owned(), Bytes::from(gap.to_string())));
    layout.everywhere(heartbeat.record)
}

/// What stands against a start besides a slot that is replaced.
pub fn besides_the_slot(mut refusals: Vec<Refusal>) -> Vec<Refusal> {
    refusals.retain(|refusal| !matches!(refusal, Refusal::Slot(slot) if slot.is_lost()));
    refusals
}

/// The end of a life. Where its slot was lost, the next one says how it goes on, or does so.
pub async fn looked_at(
    config: &Config,
    ended: Result<Ended, ServiceError>,
) -> Result<Ended, ServiceError> {
    match ended {
        Err(error @ ServiceError::NeedsCopy { .. }) if renew::slot_is_lost(config).await => {
            Err(ServiceError::NotYet(error.to_string()))
        }
        ended => ended,
    }
}
