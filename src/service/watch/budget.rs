//! The log that the slot keeps, against its budget.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::error::SqlState;

use crate::{
    change::Timestamp,
    config::{Config, OnWalBudget},
    health::budget::{Bytes, Spent},
    metrics::{Metrics, SOURCE_INTERVAL},
    postgres::{connect::sql, removal},
    service::{
        ServiceError,
        over_budget::{OverBudget, Slot, TooMuch},
    },
};

/// How long the server may take to see that the slot is read no more.
const DROP_LIMIT: Duration = Duration::from_secs(15);
/// Between two tries.
const DROP_PAUSE: Duration = Duration::from_millis(250);

/// Resolves once the slot keeps more than `source.wal_budget.stop`. Before that it warns.
pub async fn exceeded(config: &Config, metrics: &Metrics) -> TooMuch {
    let budget = config.wal_budget;
    if !budget.is_set() {
        return std::future::pending().await;
    }
    let (mut warned, mut judged) = (false, None);
    loop {
        sleep(SOURCE_INTERVAL / 2).await;
        let Some((at, retained)) = retained(metrics).filter(|(at, _)| Some(*at) != judged) else {
            continue;
        };
        judged = Some(at);
        let slot = &config.slot;
        match budget.judge(retained, &mut warned) {
            Spent::AsBefore => {}
            Spent::Much(warn) => tracing::warn!(
                %retained,
                %warn,
                "the slot {slot} keeps more log than source.wal_budget.warn: see why the graph does not follow"
            ),
            Spent::LittleAgain => {
                tracing::info!(%retained, "the slot {slot} keeps less log than source.wal_budget.warn again");
            }
            Spent::TooMuch(limit) => return TooMuch { retained, limit },
        }
    }
}

/// What the slot keeps, with the time of the look that has seen it.
fn retained(metrics: &Metrics) -> Option<(Timestamp, Bytes)> {
    let look = metrics.last_look_at_source()?;
    let bytes = look.slot?.retained_bytes?;
    Some((look.at, Bytes(u64::try_from(bytes).unwrap_or(0))))
}

/// Does with the slot what is configured, once nobody reads it any more. The error that the program ends with.
pub async fn end(config: &Config, too_much: TooMuch) -> ServiceError {
    let slot = match config.policies.on_wal_budget {
        OnWalBudget::Keep => Slot::Kept,
        OnWalBudget::Drop => match dropped(config).await {
            Ok(()) => Slot::Dropped,
            Err(error) => Slot::NotDropped(error.to_string()),
        },
    };
    ServiceError::WalBudget(Box::new(OverBudget { name: config.slot.clone(), too_much, slot }))
}

async fn dropped(config: &Config) -> Result<(), ServiceError> {
    let client = sql(&config.source()).await?.client;
    let began = Instant::now();
    loop {
        match removal::drop_slot(&client, &config.slot).await {
            Ok(()) => return Ok(()),
            Err(error)
                if error.code() == Some(&SqlState::OBJECT_IN_USE)
                    && began.elapsed() < DROP_LIMIT =>
            {
                sleep(DROP_PAUSE).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}
