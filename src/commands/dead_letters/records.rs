//! Records of topics that could not be read.
//!
//! The words are here; where such letters are kept, and what putting one back means, is a `Store`'s.

mod judge;
mod shown;
mod topic;
mod touched;

use serde::Serialize;

use crate::{cli::Chosen, config::Config, envelope::Record, service::ServiceError};

use super::super::{print, print_json};

use self::topic::Topic;

/// Where dead letters are kept.
trait Store {
    /// Identifies one of them.
    type Id;

    /// Those that wait, in the order in which they are put back.
    fn waiting(&self) -> Vec<(Self::Id, Listed)>;

    /// One of them, whole.
    async fn read(&self, id: &Self::Id) -> Result<Record, ServiceError>;

    /// Whether each of these may be put back now, in their order.
    async fn judge(&self, ids: &[&Self::Id]) -> Result<Vec<Verdict>, ServiceError>;

    /// Puts it back; says where it is now.
    async fn retry(&self, id: &Self::Id) -> Result<String, ServiceError>;

    /// Gives it up.
    async fn drop(&self, id: &Self::Id) -> Result<(), ServiceError>;
}

/// A dead letter as it is listed: without values of rows.
#[derive(Clone, Debug, Serialize)]
pub struct Listed {
    /// What it is called: with the topic's id only where letters of another topic have the same place.
    pub name: String,
    /// The same with the id.
    #[serde(skip)]
    whole_name: String,
    topic_id: Option<String>,
    pub time: Option<String>,
    pub reason: String,
    bytes: usize,
}

/// Whether a dead letter may be put back.
enum Verdict {
    /// Nothing stands against it.
    Fine,
    /// The graph would lose something by it, or may.
    Asks(String),
    /// It would not help.
    Refused(String),
}

/// The letters of the dead-letter topic.
pub struct Records<'a>(Topic<'a>);

impl<'a> Records<'a> {
    /// Those that wait; `None`: no record becomes a dead letter.
    pub async fn open(config: &'a Config) -> Result<Option<Self>, ServiceError> {
        match config.kafka() {
            Ok(_) => Ok(Topic::open(config).await?.map(Records)),
            Err(_) => Ok(None),
        }
    }

    /// All of them.
    pub fn list(&self) -> Vec<Listed> {
        self.0.waiting().into_iter().map(|(_, listed)| listed).collect()
    }

    /// Prints one whole.
    pub async fn show(&self, name: &str, json: bool) -> Result<(), ServiceError> {
        show(&self.0, name, json).await
    }

    /// Puts them back. One that is not is a failure, after the others were.
    pub async fn retry(&self, chosen: &Chosen, yes: bool) -> Result<(), ServiceError> {
        retry(&self.0, chosen, yes).await
    }

    /// Gives them up.
    pub async fn drop(&self, chosen: &Chosen) -> Result<(), ServiceError> {
        for (id, Listed { name, .. }) in self::chosen(&self.0, chosen)? {
            self.0.drop(&id).await?;
            print(&format!("{name}: dropped"))?;
        }
        Ok(())
    }
}

async fn show(store: &impl Store, name: &str, json: bool) -> Result<(), ServiceError> {
    let named = Chosen { names: vec![name.to_owned()], all: false };
    for (id, listed) in chosen(store, &named)? {
        let shown = shown::Shown::new(listed, &store.read(&id).await?);
        match json {
            true => print_json(&shown)?,
            false => print(&shown.to_string())?,
        }
    }
    Ok(())
}

/// All are judged first: a record that is put back counts as newer than the next one.
async fn retry(store: &impl Store, chosen: &Chosen, yes: bool) -> Result<(), ServiceError> {
    let chosen = self::chosen(store, chosen)?;
    let ids: Vec<_> = chosen.iter().map(|(id, _)| id).collect();
    let verdicts = store.judge(&ids).await?;
    let mut refused = 0;
    for ((id, Listed { name, .. }), verdict) in chosen.iter().zip(verdicts) {
        let said = match verdict {
            Verdict::Fine => format!("put back, {}", store.retry(id).await?),
            Verdict::Asks(why) if yes => {
                format!("put back, {}, although {why}", store.retry(id).await?)
            }
            Verdict::Asks(why) => {
                refused += 1;
                format!("not put back: {why}. If that is well: --yes")
            }
            Verdict::Refused(why) => {
                refused += 1;
                format!("not put back: {why}")
            }
        };
        print(&format!("{name}: {said}"))?;
    }
    match refused {
        0 => Ok(()),
        1 => Err(ServiceError::Definite("1 dead letter is not put back".to_owned())),
        more => Err(ServiceError::Definite(format!("{more} dead letters are not put back"))),
    }
}

/// Those that are named, in the order in which they are put back. Each name must be one's.
fn chosen<S: Store>(store: &S, chosen: &Chosen) -> Result<Vec<(S::Id, Listed)>, ServiceError> {
    let waiting = store.waiting();
    if let Some(unknown) = chosen.names.iter().find(|name| !waiting.iter().any(|it| it.1.is(name)))
    {
        let like = waiting.iter().filter(|(_, listed)| listed.is_like(unknown));
        let like: Vec<&str> = like.map(|(_, listed)| listed.name.as_str()).collect();
        return Err(ServiceError::Usage(match like.is_empty() {
            true => super::unknown(unknown),
            false => format!(
                "{unknown} names dead letters of several topics, since the topic was made again: {}",
                like.join(", ")
            ),
        }));
    }
    let is_chosen = |listed: &Listed| chosen.all || chosen.names.iter().any(|name| listed.is(name));
    Ok(waiting.into_iter().filter(|(_, listed)| is_chosen(listed)).collect())
}

impl Listed {
    fn is(&self, name: &str) -> bool {
        self.name == name || self.whole_name == name
    }

    /// The name without the topic's id, where it does not suffice.
    fn is_like(&self, name: &str) -> bool {
        self.whole_name.split_once('@').is_some_and(|(short, _)| short == name)
    }
}
