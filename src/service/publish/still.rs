//! A source that stands still: its position is said again, so that retention never takes the last word.
//!
//! A topic whose records are all gone is not gone on with: nobody knows how far it was. While the source
//! writes no log, no batch leads to a position, and nothing else is produced.

use std::time::Duration;

use tokio::{sync::watch, time::sleep};

use crate::{
    checkpoint::{Advance, Newest},
    envelope::Encoder,
    kafka::{
        self,
        encode::{Copied, Reached, heartbeat},
        producer::Producer,
    },
    lsn::Lsn,
    pipeline::Sink,
    topic::{
        routing::{Layout, Routed},
        whose::Through,
    },
};

/// A position that stands still is said again this often. Retention is hours at least.
const INTERVAL: Duration = Duration::from_secs(600);

/// What all replicas have: everything before a position, and the newest transaction, if it is known.
pub type There = (Lsn, Option<Newest>);

/// A producer that tells what is there.
pub struct Telling {
    /// Produces.
    pub producer: Producer,
    /// Learns it once it is there.
    pub there: watch::Sender<There>,
}

impl Sink<Vec<Routed>> for Telling {
    type Error = kafka::Error;

    async fn write(&mut self, advance: Advance, records: Vec<Routed>) -> kafka::Result<()> {
        let there = (advance.to.lsn, advance.newest);
        self.producer.write(advance, records).await?;
        self.there.send_replace(there);
        Ok(())
    }
}

/// Makes and produces heartbeats.
pub struct Heartbeats {
    /// Makes them.
    pub encoder: Encoder,
    /// Produces them.
    pub producer: Producer,
    /// The tables that are in the topic.
    pub copied: Copied,
    /// What the source is read through.
    pub through: Through,
    /// Where they go.
    pub layout: Layout,
}

impl Heartbeats {
    /// Says again what is there for as long as the publisher lives.
    pub async fn repeat(self, there: watch::Receiver<There>) {
        let say = |(end_lsn, newest)| {
            let reached = Reached { end_lsn, newest, through: &self.through };
            let again = heartbeat(&self.encoder, reached, &self.copied.borrow(), &self.layout);
            let producer = self.producer.clone();
            async move { producer.produce(&[again]).await }
        };
        repeat(there, say).await;
    }
}

/// Says it again for as long as the publisher lives. An error ends it: the publisher meets the same.
async fn repeat<F: Future<Output = kafka::Result<()>>>(
    mut there: watch::Receiver<There>,
    say: impl Fn(There) -> F,
) {
    loop {
        sleep(INTERVAL).await;
        let stands = there.has_changed().is_ok_and(|changed| !changed);
        let there = *there.borrow_and_update();
        if stands && let Err(error) = say(there).await {
            tracing::debug!(%error, "a position that stands still was not said again");
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{future::ready, sync::Mutex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_position_that_stands_still_is_said_again_and_one_that_moves_is_not() {
        let (sender, there) = watch::channel((Lsn(1), None));
        let said = Mutex::new(Vec::new());
        let repeating = repeat(there, |(lsn, _)| {
            said.lock().unwrap().push(lsn);
            ready(Ok(()))
        });
        let moving = async {
            sleep(INTERVAL * 2 + INTERVAL / 2).await;
            sender.send_replace((Lsn(2), None));
            sleep(INTERVAL).await;
            sender.send_replace((Lsn(3), None));
            sleep(INTERVAL * 2).await;
        };
        tokio::select! { () = repeating => {}, () = moving => {} }
        assert_eq!(*said.lock().unwrap(), [Lsn(1), Lsn(1), Lsn(3)]);
    }
}
