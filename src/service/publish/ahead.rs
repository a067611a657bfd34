//! What topics have beyond the publisher's position: the newest transaction of it has to be in the source's log.

use std::time::Duration;

use tokio::time::sleep;
use tokio_postgres::Client;

use crate::{
    checkpoint::Mark,
    config::Config,
    lsn::Lsn,
    postgres::{
        replication::Connection,
        setup::{self, Server},
    },
    service::{
        ServiceError, proof,
        slot::{Held, hold_slot},
    },
};

/// How often it is looked whether the slot is free again.
const FREE_PAUSE: Duration = Duration::from_millis(50);
/// How many of these looks there are.
const FREE_LOOKS: u32 = 100;

/// Reads the log up to that transaction: nothing is published before it is known to be there. Most starts have none
/// beyond their position.
pub async fn look(
    config: &Config,
    client: &Client,
    server: &Server,
    position: Lsn,
    newest: Mark,
) -> Result<(), ServiceError> {
    let connection = Connection::connect(&config.source()).await?;
    let Held { mut stream, .. } = hold_slot(config, connection, server, position, None).await?;
    let shown = proof::read_ahead(&mut stream, newest).await;
    stream.close().await;
    slot_is_free(client, &config.slot).await?;
    shown
}

/// Waits until the server has noticed that nobody reads from the slot any more.
async fn slot_is_free(client: &Client, name: &str) -> Result<(), ServiceError> {
    for _ in 0..FREE_LOOKS {
        let slot = setup::slot(client, name).await?;
        if slot.is_none_or(|slot| slot.active_pid.is_none()) {
            return Ok(());
        }
        sleep(FREE_PAUSE).await;
    }
    Err(ServiceError::NotYet(format!("somebody else reads from the slot {name}")))
}
