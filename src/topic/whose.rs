//! Whose records are: what each of them says of its publisher, compared with what this pipeline would say.
//!
//! A pipeline's name is not enough. Two databases of one cluster may each have a pipeline of one name, and a pipeline
//! may be started twice, through two slots: what one publishes is not what the other one has still to publish.

use crate::envelope::Record;

/// The header of a heartbeat that names the database that its publisher reads.
pub const DATABASE_HEADER: &str = "wal2graph.database";
/// The header of a heartbeat that names the slot that its publisher reads.
pub const SLOT_HEADER: &str = "wal2graph.slot";
/// The header of a heartbeat that names the publication that its publisher reads.
pub const PUBLICATION_HEADER: &str = "wal2graph.publication";

/// What a source is read through: what a heartbeat says of its publisher besides its pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Through {
    /// The database.
    pub database: String,
    /// The slot.
    pub slot: String,
    /// The publication.
    pub publication: String,
}

impl Through {
    /// As headers.
    pub fn headers(&self) -> [(&'static str, &str); 3] {
        let Through { database, slot, publication } = self;
        [(DATABASE_HEADER, database), (SLOT_HEADER, slot), (PUBLICATION_HEADER, publication)]
    }
}

/// Whose a record is, as far as it says so. An earlier build said less in heartbeats.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Whose {
    /// The pipeline that has published it.
    pub pipeline: Option<String>,
    /// The database that it is from.
    pub database: Option<String>,
}

impl Whose {
    /// Nothing shows that they are of two.
    pub fn may_be(&self, other: &Whose) -> bool {
        let fits = |a: &Option<String>, b: &Option<String>| a.is_none() || b.is_none() || a == b;
        fits(&self.pipeline, &other.pipeline) && fits(&self.database, &other.database)
    }
}

/// A heartbeat is of another publisher than the one that is read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OtherPublisher {
    /// It is of a pipeline on another database.
    #[error(
        "it is a heartbeat of the database {found:?}, and the graph is from {expected:?}: the database was renamed, or \
         pipelines of one name on two databases publish to this topic. Give the database its name back (ALTER \
         DATABASE), or one of the pipelines another topic (kafka.topic)"
    )]
    Database {
        /// The graph's.
        expected: String,
        /// The record's.
        found: String,
    },
    /// Two publishers of this pipeline write.
    #[error(
        "it is a heartbeat of a publisher that reads through the slot {found:?}, and those before it were of the slot \
         {expected:?}: what one has published, the other one has passed over. Stop one of the publishers, and copy \
         again through a new topic and pipeline"
    )]
    Slot {
        /// That of the heartbeats before.
        expected: String,
        /// The record's.
        found: String,
    },
}

impl OtherPublisher {
    /// The record is a stranger among the others. Changes that came through another slot are among ours.
    pub fn is_of_one_record(&self) -> bool {
        matches!(self, OtherPublisher::Database { .. })
    }
}

/// The publisher whose heartbeats are read, as far as it is known.
#[derive(Clone, Debug, Default)]
pub struct Publisher {
    database: Option<String>,
    slot: Option<String>,
}

impl Publisher {
    /// One that reads this database, through the slot that the first heartbeat names.
    pub fn on(database: &str) -> Self {
        Publisher { database: Some(database.to_owned()), slot: None }
    }

    /// A heartbeat is its, as far as it says so. Nothing else has these headers.
    ///
    /// # Errors
    /// It is another one's.
    pub fn check(&mut self, record: &Record) -> Result<(), OtherPublisher> {
        let header = |name: &str| {
            let (_, value) = record.headers.iter().find(|(it, _)| it == name)?;
            Some(String::from_utf8_lossy(value).into_owned())
        };
        if let (Some(expected), Some(found)) = (&self.database, header(DATABASE_HEADER))
            && *expected != found
        {
            return Err(OtherPublisher::Database { expected: expected.clone(), found });
        }
        match (&self.slot, header(SLOT_HEADER)) {
            (Some(expected), Some(found)) if *expected != found => {
                return Err(OtherPublisher::Slot { expected: expected.clone(), found });
            }
            (None, Some(found)) => self.slot = Some(found),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Whose;

    #[test]
    fn a_pipeline_of_the_same_name_on_another_database_is_another_one() {
        let of = |pipeline: &str, database: Option<&str>| Whose {
            pipeline: Some(pipeline.to_owned()),
            database: database.map(str::to_owned),
        };
        let own = of("p", Some("d"));
        assert!(own.may_be(&own) && own.may_be(&of("p", None)) && own.may_be(&Whose::default()));
        assert!(!own.may_be(&of("p", Some("e"))) && !own.may_be(&of("q", Some("d"))));
        assert!(!own.may_be(&of("q", None)));
    }
}
