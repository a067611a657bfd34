//! The source's part: slots and publications.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::sleep;
use tokio_postgres::error::SqlState;

use crate::{
    catalog::pasteable,
    checkpoint::{Checkpoint, Log},
    config::Config,
    mapping::{Kept, Mapping, compile},
    postgres::{
        self,
        connect::{Sql, describe},
        removal, setup,
    },
    service::{ServiceError, read_catalog},
    shown::Shown,
    start::{TableFacts, again::drop_slot, publication::mark},
};

use super::{graph::Found, plan::Plan, print};

/// How often it is looked whether a slot's reader has gone: a process that was just stopped may be.
const LOOKS: usize = 10;
const LOOK: Duration = Duration::from_millis(200);

/// The source as far as it answers.
pub struct Source {
    sql: Result<Sql, ServiceError>,
    mapping: Option<Mapping>,
    slots: BTreeSet<String>,
    publications: BTreeSet<String>,
}

/// What goes of it.
#[derive(Default)]
pub struct Going {
    slots: Vec<String>,
    publications: Vec<String>,
}

impl Source {
    /// Connects. A source that is away is no error.
    pub async fn look(config: &Config, known: Option<&Found>) -> Result<Self, ServiceError> {
        let own = known.map(|found| found.checkpoints.as_slice()).unwrap_or_default();
        let facts = own.iter().filter_map(|it| TableFacts::parse(it.table_facts.as_deref()?).ok());
        let mut kept = Kept::default();
        facts.for_each(|facts| facts.keep_names(&mut kept));
        let (sql, mapping) = match read_catalog(config).await {
            Ok((sql, catalog)) => (Ok(sql), compile(&catalog, &config.keeping(kept).edits).ok()),
            // What is to be dropped may be what makes the catalog unreadable.
            Err(_) => (postgres::connect::sql(&config.source()).await.map_err(Into::into), None),
        };
        let slot = |checkpoint: &Checkpoint| match &checkpoint.origin.log {
            Log::Slot(slot) => Some(slot.clone()),
            Log::Partition(_) => None,
        };
        let slots = own.iter().filter_map(slot).chain([config.slot.clone()]);
        let publications = own.iter().filter_map(|it| it.publication.clone());
        Ok(Source {
            sql,
            mapping,
            slots: slots.collect(),
            publications: publications.chain([config.publication.clone()]).collect(),
        })
    }

    pub fn is_reached(&self) -> bool {
        self.sql.is_ok()
    }

    /// What the tables are now.
    pub fn mapping(&self) -> Option<&Mapping> {
        self.mapping.as_ref()
    }

    /// A slot that is read, and who reads it.
    pub async fn reader(&self) -> Result<Option<(&str, String)>, ServiceError> {
        let Ok(Sql { client, .. }) = &self.sql else { return Ok(None) };
        for slot in &self.slots {
            for look in 0..LOOKS {
                match removal::reader(client, slot).await? {
                    None => break,
                    Some(reader) if look + 1 == LOOKS => return Ok(Some((slot, reader))),
                    Some(_) => sleep(LOOK).await,
                }
            }
        }
        Ok(None)
    }

    /// What goes, and what is named.
    pub async fn plan(
        &self,
        config: &Config,
        known: Option<&Found>,
        plan: &mut Plan,
    ) -> Result<Going, ServiceError> {
        let mut going = Going::default();
        let client = match &self.sql {
            Ok(sql) => &sql.client,
            Err(error) => {
                plan.cannot_go("source", format!("it is away: {error}. If it is there:"));
                for slot in &self.slots {
                    plan.stays.add("", drop_slot(slot));
                }
                for name in &self.publications {
                    let of = "if wal2graph made it";
                    plan.stays.add("", format!("{} ({of})", drop_publication(name)));
                }
                return Ok(going);
            }
        };
        if let Some(made_from) = known.and_then(Found::cluster)
            && let Some(cluster) = setup::cluster(client).await?
            && cluster != made_from
        {
            let text = format!(
                "it is the cluster {cluster}, and the graph was made from {made_from}: slot and publication of that \
                 one stay where they are. There:"
            );
            plan.cannot_go("source", text);
            self.slots.iter().for_each(|slot| plan.stays.add("", drop_slot(slot)));
            self.publications.iter().for_each(|it| plan.stays.add("", drop_publication(it)));
            return Ok(going);
        }
        for slot in &self.slots {
            if let Some(other) = known.and_then(|found| found.reads(slot)) {
                plan.stays.add("slot", format!("{slot}: the pipeline {other} reads it"));
                continue;
            }
            let Some(found) = setup::slot(client, slot).await? else { continue };
            if !found.logical || found.database.as_deref() != Some(config.source().database()) {
                let text = format!("{slot}: it is none of this database. {}", drop_slot(slot));
                plan.stays.add("slot", text);
                continue;
            }
            let kept =
                found.retained_bytes.map(|bytes| format!(", keeps {bytes} bytes of the log"));
            plan.goes.add("slot", format!("{slot}{}", kept.unwrap_or_default()));
            going.slots.push(slot.clone());
        }
        for name in &self.publications {
            self.plan_publication(config, known, name, plan, &mut going).await?;
        }
        Ok(going)
    }

    async fn plan_publication(
        &self,
        config: &Config,
        known: Option<&Found>,
        name: &str,
        plan: &mut Plan,
        going: &mut Going,
    ) -> Result<(), ServiceError> {
        let Ok(Sql { client, .. }) = &self.sql else { return Ok(()) };
        let Some(found) = removal::marked(client, name).await? else { return Ok(()) };
        let shown = Shown(name);
        if let Some(other) = known.and_then(|found| found.is_published_to(name)) {
            plan.stays.add("publication", format!("{shown}: the pipeline {other} reads it"));
        } else if found.comment != Some(mark(&config.pipeline)) {
            let text = format!(
                "{shown}: somebody else made it, or an earlier build did. {}",
                drop_publication(name)
            );
            plan.stays.add("publication", text);
        } else if !found.may_drop {
            let (owner, drop) = (Shown(&found.owner), drop_publication(name));
            plan.cannot_go(
                "publication",
                format!("{shown}: it belongs to {owner}, who may: {drop}"),
            );
        } else {
            plan.goes.add("publication", shown.to_string());
            going.publications.push(name.to_owned());
        }
        Ok(())
    }

    /// Drops them. Once it is done, nobody can begin to stream again.
    pub async fn drop_slots(&self, going: &Going, plan: &mut Plan) -> Result<(), ServiceError> {
        let Ok(Sql { client, .. }) = &self.sql else { return Ok(()) };
        for slot in &going.slots {
            match removal::drop_slot(client, slot).await {
                Ok(()) => print(&format!("removed the slot {slot}"))?,
                Err(error) if error.code() == Some(&SqlState::OBJECT_IN_USE) => {
                    return Err(ServiceError::Definite(format!(
                        "the pipeline {} was started meanwhile: {}. Stop it, and repeat this command",
                        plan.pipeline,
                        describe(&error)
                    )));
                }
                Err(error) => {
                    let text = format!("{slot}: {}. {}", describe(&error), drop_slot(slot));
                    plan.did_not_go("slot", &text)?;
                }
            }
        }
        Ok(())
    }

    /// Drops them.
    pub async fn drop_publications(
        &self,
        going: &Going,
        plan: &mut Plan,
    ) -> Result<(), ServiceError> {
        let Ok(Sql { client, .. }) = &self.sql else { return Ok(()) };
        for name in &going.publications {
            match removal::drop_publication(client, name).await {
                Ok(()) => print(&format!("removed the publication {}", Shown(name)))?,
                Err(error) => {
                    let drop = drop_publication(name);
                    let text = format!("{}: {}. {drop}", Shown(name), describe(&error));
                    plan.did_not_go("publication", &text)?;
                }
            }
        }
        Ok(())
    }
}

/// The statement that drops a publication, and does nothing where there is none.
fn drop_publication(name: &str) -> String {
    format!("DROP PUBLICATION IF EXISTS {};", pasteable(name))
}
