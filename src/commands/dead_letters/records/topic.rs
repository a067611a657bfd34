//! Dead letters of topics, in Kafka.

use std::collections::{BTreeMap, btree_map::Entry};

use crate::{
    checkpoint::TopicPartition,
    config::Config,
    dead_letters::{Handled, Id, Letter},
    envelope::Record,
    kafka::dead_letters::Shelf,
    service::ServiceError,
};

use super::{
    super::time,
    Listed, Store, Verdict,
    judge::{Judge, Now},
};

/// The dead-letter topic as it was when the command began.
pub struct Topic<'a> {
    config: &'a Config,
    shelf: Shelf,
}

impl<'a> Topic<'a> {
    /// Reads all that wait; `None`: no record becomes a dead letter.
    pub async fn open(config: &'a Config) -> Result<Option<Self>, ServiceError> {
        let Some(mut shelf) = Shelf::open(config.kafka()?)? else { return Ok(None) };
        shelf.read_on().await?;
        Ok(Some(Topic { config, shelf }))
    }

    async fn now(&self, at: &TopicPartition) -> Result<Now, ServiceError> {
        let asking = self.shelf.asking();
        let topic = asking.describe(&[&at.topic]).await?.remove(&at.topic);
        Ok(Now { topic: topic.and_then(|topic| topic.id), log: asking.log(at).await? })
    }
}

impl Store for Topic<'_> {
    type Id = (Id, Letter);

    fn waiting(&self) -> Vec<(Self::Id, Listed)> {
        let letters = self.shelf.letters();
        let listed = |(id, letter): (&Id, &Letter)| {
            let (place, whole_name) = (&id.place, id.place.whole_name());
            let listed = Listed {
                name: match letters.is_ambiguous(place) {
                    true => whole_name.clone(),
                    false => place.to_string(),
                },
                whole_name,
                topic_id: place.topic_id.map(|id| id.to_string()),
                time: letter.produced.and_then(time),
                reason: letter.why.clone(),
                bytes: letter.bytes,
            };
            ((id.clone(), letter.clone()), listed)
        };
        letters.waiting().map(listed).collect()
    }

    async fn read(&self, (id, letter): &Self::Id) -> Result<Record, ServiceError> {
        Ok(self.shelf.record(id, letter).await?)
    }

    async fn judge(&self, ids: &[&Self::Id]) -> Result<Vec<Verdict>, ServiceError> {
        let judge = Judge::new(self.config).await?;
        let (mut verdicts, mut searches) = (Vec::new(), BTreeMap::new());
        for (index, id) in ids.iter().enumerate() {
            let place = &id.0.place;
            let verdict = match judge.examine(place, &self.read(id).await?) {
                Err(refused) => Verdict::Refused(refused),
                Ok(effect) => {
                    let search = match searches.entry(place.at.clone()) {
                        Entry::Occupied(found) => found.into_mut(),
                        Entry::Vacant(new) => {
                            let now = self.now(&place.at).await?;
                            new.insert(judge.search(&self.shelf, &place.at, now))
                        }
                    };
                    search.add(index, place, effect).map_or(Verdict::Fine, Verdict::Asks)
                }
            };
            verdicts.push(verdict);
        }
        for (at, search) in searches {
            for (index, newer) in search.run(&self.shelf, &at).await? {
                verdicts[index] = Verdict::Asks(newer);
            }
        }
        Ok(verdicts)
    }

    async fn retry(&self, id: &Self::Id) -> Result<String, ServiceError> {
        let record = self.read(id).await?;
        let (id, letter) = id;
        let offset = self.shelf.put_back(&id.place, record).await?;
        if let Err(error) = self.shelf.mark(id, letter, Handled::Retried).await {
            return Err(ServiceError::Definite(format!(
                "{} is put back at offset {offset}, and could not be marked: {error}. So that it is not put back \
                 twice: wal2graph dead-letters drop {}",
                id.place,
                id.place.whole_name()
            )));
        }
        Ok(format!("at offset {offset} of {}", id.place.at))
    }

    async fn drop(&self, (id, letter): &Self::Id) -> Result<(), ServiceError> {
        Ok(self.shelf.mark(id, letter, Handled::Dropped).await?)
    }
}
