//! Whether a source has the history that was followed, before a stream shows it: for commands that
//! only look.

use tokio_postgres::Client;

use crate::{
    change::Event,
    checkpoint::{Mark, Newest, Position},
    config::Config,
    engine::{Engine, EngineError, Input, Limits, shows},
    lsn::Lsn,
    pipeline::{PipelineError, Source},
    postgres::{
        peek::{PeekError, peek},
        replication::StreamError,
        setup,
    },
    start::Slot,
};

use super::ServiceError;

/// The server decodes and holds what is looked at: of more log than this, in bytes, only a start finds
/// out.
const LOOKED_AT: u64 = 64 << 20;

/// Puts what the slot has not confirmed through the engine, as a start would that goes on at `at`. An
/// error of a pipeline is what that would end with. Nothing is looked at while somebody reads from
/// the slot, who has found out already.
pub async fn look(
    config: &Config,
    client: &Client,
    slot: Option<&Slot>,
    (at, newest): (Position, Option<Newest>),
) -> Result<(), ServiceError> {
    let free = slot.filter(|slot| slot.active_pid.is_none());
    let Some(confirmed) = free.and_then(|slot| slot.confirmed) else { return Ok(()) };
    let mut engine = Engine::new(Limits::DEFAULT, at).continuing(newest, confirmed);
    let end = at.part.map_or(at.lsn, |part| Lsn(part.commit_lsn.0 + 1));
    if engine.is_proven() || end.bytes_since(confirmed) > LOOKED_AT {
        return Ok(());
    }
    let judge = |event| engine.handle(Input::Event(event)).err().map(Err);
    let found = judged(config, client, end, judge).await;
    unless_moved(config, client, confirmed, found).await
}

/// Looks whether the slot would send a transaction that topics have something of. Nothing is looked at while somebody
/// reads from the slot.
pub async fn look_ahead(
    config: &Config,
    client: &Client,
    slot: Option<&Slot>,
    newest: Mark,
) -> Result<(), ServiceError> {
    let free = slot.filter(|slot| slot.active_pid.is_none());
    let Some(confirmed) = free.and_then(|slot| slot.confirmed) else { return Ok(()) };
    let end = Lsn(newest.commit_lsn.0 + 1);
    if confirmed > newest.commit_lsn || end.bytes_since(confirmed) > LOOKED_AT {
        return Ok(());
    }
    let found = judged(config, client, end, |event| shows(newest, &event)).await;
    unless_moved(config, client, confirmed, found).await
}

/// Another reader may have used the slot meanwhile: the slot no longer sends what that one has acknowledged.
async fn unless_moved(
    config: &Config,
    client: &Client,
    confirmed: Lsn,
    found: Result<(), ServiceError>,
) -> Result<(), ServiceError> {
    if found.is_ok() {
        return found;
    }
    let now = setup::slot(client, &config.slot).await?;
    let is_as_it_was = |it: &Slot| it.confirmed == Some(confirmed) && it.active_pid.is_none();
    if now.as_ref().is_some_and(is_as_it_was) { found } else { Ok(()) }
}

/// Puts what the slot has not confirmed before `end` through a judge, until that knows.
async fn judged(
    config: &Config,
    client: &Client,
    end: Lsn,
    mut judge: impl FnMut(Event) -> Option<Result<(), EngineError>>,
) -> Result<(), ServiceError> {
    let names = (config.slot.as_str(), config.publication.as_str());
    let found = match peek(client, names, end, &mut judge).await {
        Ok(found) => found,
        // It was free when it was looked at.
        Err(error) if error.is_in_use() => return Ok(()),
        Err(PeekError::Sql(error)) => return Err(error.into()),
        Err(error) => return Err(ServiceError::Definite(error.to_string())),
    };
    let nothing_more = Event::Keepalive { wal_end: end, source_lsn: end, reply_requested: false };
    let found = found.or_else(|| judge(nothing_more));
    found.unwrap_or(Ok(())).map_err(|error| PipelineError::from(error).into())
}

/// Reads a stream until it shows that its log has a transaction, which its slot has not confirmed. Nothing is
/// acknowledged.
pub async fn read_ahead(
    stream: &mut impl Source<Error = StreamError>,
    newest: Mark,
) -> Result<(), ServiceError> {
    loop {
        let events = stream.next().await?;
        if let Some(shown) = events.iter().find_map(|event| shows(newest, event)) {
            return shown.map_err(|error| PipelineError::from(error).into());
        }
    }
}
