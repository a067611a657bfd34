//! Reads a slot with wal2graph's own client, without a graph.

use std::{sync::Arc, time::Duration};

use tokio_postgres::Client;
use wal2graph::{
    change::{Change, Event},
    checkpoint::Position,
    engine::{Engine, Input, Limits, Output},
    graph::Mutations,
    lsn::Lsn,
    mapping::{Edits, Mapping, Translator, compile},
    pipeline::Source,
    postgres::{
        catalog,
        connect::{SourceUrl, sql},
        replication::{Connection, Stream},
        setup,
    },
};

use crate::{Result, lab::Lab};

/// The interval of position updates to the server.
const FEEDBACK: Duration = Duration::from_secs(1);

/// The mapping that wal2graph infers for a database.
pub async fn mapping(lab: &Lab, database: &str) -> Result<Arc<Mapping>> {
    let mut client = lab.client(database).await?;
    let catalog = catalog::read(&mut client, None).await?;
    let mapping = compile(&catalog, &Edits::default());
    Ok(Arc::new(mapping.map_err(|refusals| format!("{refusals:?}"))?))
}

/// Starts the stream of a slot at the slot's position. Returns the stream and the log's flushed
/// position.
pub async fn start(
    lab: &Lab,
    database: &str,
    slot: &str,
    publication: &str,
) -> Result<(Stream, Lsn)> {
    let url: SourceUrl = lab.postgres.url(database).parse()?;
    let ordinary = sql(&url).await?;
    let end = setup::flushed(&ordinary.client).await?.without_page_header();
    let closed = ordinary.closed.keeping(std::sync::Arc::new(ordinary.client));
    let connection = Connection::connect(&url).await?;
    let stream =
        connection.start(slot, publication, Lsn::ZERO, Lsn::ZERO, FEEDBACK, closed).await?;
    Ok((stream, end))
}

/// Reads and discards everything up to `end`. Returns the number of changes.
pub async fn drain(mut stream: Stream, end: Lsn) -> Result<u64> {
    let mut changes = 0;
    loop {
        for event in stream.next().await? {
            match event {
                Event::Change(_) => changes += 1,
                Event::Commit(commit) if commit.end_lsn >= end => return Ok(changes),
                Event::Keepalive { wal_end, .. } if wal_end >= end => return Ok(changes),
                Event::Begin(_) | Event::Commit(_) | Event::Keepalive { .. } => {}
            }
        }
    }
}

/// The program's batches of a backlog, folded, and the number of their changes.
pub async fn batches(
    mut stream: Stream,
    end: Lsn,
    mapping: &Arc<Mapping>,
) -> Result<(Vec<Mutations>, usize)> {
    let mut translator = Translator::new(mapping.clone());
    let mut engine = Engine::new(Limits::DEFAULT, Position::default());
    let (mut batches, mut count) = (Vec::new(), 0);
    let mut at_end = false;
    while !at_end {
        while engine.wants_input() && !at_end {
            for event in stream.next().await? {
                at_end |= match &event {
                    Event::Commit(commit) => commit.end_lsn >= end,
                    Event::Keepalive { wal_end, .. } => *wal_end >= end,
                    Event::Begin(_) | Event::Change(_) => false,
                };
                engine.handle(Input::Event(event))?;
            }
        }
        while let Some(output) = engine.poll(Duration::ZERO) {
            let Output::Apply(batch) = output else { continue };
            count += batch.changes.len();
            batches.push(folded(&mut translator, &batch.changes)?);
            engine.handle(Input::Applied)?;
        }
    }
    Ok((batches, count))
}

fn folded(translator: &mut Translator, changes: &[Change]) -> Result<Mutations> {
    let mut mutations = Mutations::default();
    for change in changes {
        translator
            .translate(change, Lsn::ZERO)?
            .into_iter()
            .for_each(|event| mutations.push(event));
    }
    Ok(mutations)
}

/// Creates another slot at the position of `from`.
pub async fn copy_slot(sql: &Client, from: &str, to: &str) -> Result<()> {
    let text = "SELECT pg_copy_logical_replication_slot($1::text::name, $2::text::name)";
    sql.execute(text, &[&from, &to]).await?;
    Ok(())
}

/// Removes a slot.
pub async fn drop_slot(sql: &Client, name: &str) -> Result<()> {
    sql.execute("SELECT pg_drop_replication_slot($1::text::name)", &[&name]).await?;
    Ok(())
}
