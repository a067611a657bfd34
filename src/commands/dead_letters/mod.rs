//! `dead-letters`: rows and records that wait for a person.
//!
//! ```text
//! rows that the graph refuses         in the graph             row-1a2b3c4d5e6f7081
//! records that could not be read      in a topic of Kafka      shop.public.orders/0/1234
//! ```

#[cfg(feature = "kafka")]
mod records;
#[cfg(not(feature = "kafka"))]
#[path = "no_records.rs"]
mod records;
mod rows;

use serde::Serialize;

use crate::{
    change::Timestamp,
    cli::{Chosen, DeadLettersAction, DeadLettersArgs},
    config::Config,
    graph::letter::LetterId,
    service::ServiceError,
};

use super::{print, print_json};

use self::{records::Records, rows::Rows};

/// One of either kind, as it is listed.
#[derive(Serialize)]
#[serde(untagged)]
enum Listed {
    Row(rows::Listed),
    Record(records::Listed),
}

/// Does what is asked, and prints it. One that is not put back is a failure, after the others were.
pub async fn execute(config: &Config, args: &DeadLettersArgs) -> Result<(), ServiceError> {
    match &args.action {
        DeadLettersAction::List(args) => list(config, args.json).await,
        DeadLettersAction::Show(args) => match LetterId::is_name(&args.name) {
            true => Rows::open(config).await?.show(&args.name, args.json),
            false => records(config).await?.show(&args.name, args.json).await,
        },
        DeadLettersAction::Retry(args) => {
            let (of_rows, of_records) = split(&args.chosen);
            let rows = async || match &of_rows {
                Some(chosen) => Rows::open(config).await?.retry(chosen).await,
                None => Ok(()),
            };
            let retried = rows().await;
            if let Some(chosen) = of_records
                && let Some(records) = records_among(config, &chosen).await?
            {
                records.retry(&chosen, args.yes).await?;
            }
            retried
        }
        DeadLettersAction::Drop(args) => {
            let (of_rows, of_records) = split(&args.chosen);
            if let Some(chosen) = of_rows {
                Rows::open(config).await?.drop(&chosen).await?;
            }
            if let Some(chosen) = of_records
                && let Some(records) = records_among(config, &chosen).await?
            {
                records.drop(&chosen).await?;
            }
            Ok(())
        }
    }
}

async fn records(config: &Config) -> Result<Records<'_>, ServiceError> {
    Records::open(config).await?.ok_or_else(no_records)
}

/// The records, if there may be any that are chosen.
async fn records_among<'a>(
    config: &'a Config,
    chosen: &Chosen,
) -> Result<Option<Records<'a>>, ServiceError> {
    match Records::open(config).await? {
        None if !chosen.all => Err(no_records()),
        records => Ok(records),
    }
}

fn unknown(name: &str) -> String {
    format!("no dead letter {name} waits: `wal2graph dead-letters list` has the names of all")
}

fn no_records() -> ServiceError {
    ServiceError::Definite(
        "no record becomes a dead letter: one that can not be read stops `wal2graph apply`. With `unreadable: park` \
         under kafka in the file it becomes one. `wal2graph dead-letters list` has the names of all that wait"
            .to_owned(),
    )
}

/// The chosen ones of both kinds, as far as any are.
fn split(chosen: &Chosen) -> (Option<Chosen>, Option<Chosen>) {
    let of = |rows: bool| {
        let names = chosen.names.iter().filter(|name| LetterId::is_name(name) == rows);
        let names: Vec<String> = names.cloned().collect();
        (chosen.all || !names.is_empty()).then_some(Chosen { names, all: chosen.all })
    };
    (of(true), of(false))
}

async fn list(config: &Config, json: bool) -> Result<(), ServiceError> {
    let rows = match config.graph() {
        Ok(_) => Rows::open(config).await?.list(),
        Err(_) => Vec::new(),
    };
    let records = Records::open(config).await?.map(|records| records.list()).unwrap_or_default();
    let rows = rows.into_iter().map(Listed::Row);
    let listed: Vec<Listed> = rows.chain(records.into_iter().map(Listed::Record)).collect();
    if json {
        return print_json(&listed);
    }
    let width = listed.iter().map(|it| it.name().len()).max().unwrap_or_default();
    for letter in &listed {
        let (time, what) = letter.time_and_reason();
        print(&format!("{:width$}  {:24}  {what}", letter.name(), time.as_deref().unwrap_or("-")))?;
    }
    match listed.len() {
        0 => print("no dead letters"),
        _ => Ok(()),
    }
}

impl Listed {
    fn name(&self) -> &str {
        match self {
            Listed::Row(row) => &row.name,
            Listed::Record(record) => &record.name,
        }
    }

    fn time_and_reason(&self) -> (Option<String>, String) {
        match self {
            Listed::Row(row) => (row.time.clone(), row.to_string()),
            Listed::Record(record) => (record.time.clone(), record.reason.clone()),
        }
    }
}

fn time(at: Timestamp) -> Option<String> {
    let at = chrono::DateTime::from_timestamp_micros(at.unix_micros)?;
    Some(at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
}
