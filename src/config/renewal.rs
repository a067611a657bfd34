//! What `${file:}` names is read again for each connection: secrets are replaced while the program runs.
//!
//! ```text
//! texts of the file + variables as they were at the start --expanded again--> Renewed
//! ```
//!
//! Only log-ins and the token of the pages are renewed. Everything else is as it was at the start.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    cli::Global,
    kafka::Options as KafkaOptions,
    neo4j,
    postgres::connect::{Environment, SourceUrl},
    secrets::{Renewed, Secret},
};

use super::{
    ConfigError, RawGraph, RawHttp, RawKafka, expand, graph, http, kafka, source, substitute,
};

/// The environment, with the names that were looked up in it.
pub(super) struct Variables<'a> {
    environment: Environment<'a>,
    noted: RefCell<Noted>,
}

/// Variables by name; `None`: it is not set.
type Noted = BTreeMap<String, Option<String>>;

/// Makes values that are read again, with the variables as they were.
pub(super) struct Again(Arc<Noted>);

impl<'a> Variables<'a> {
    /// Nothing is asked yet.
    pub fn of(environment: Environment<'a>) -> Self {
        Variables { environment, noted: RefCell::default() }
    }

    /// A variable.
    pub fn note(&self, name: &str) -> Option<String> {
        let value = (self.environment)(name);
        self.noted.borrow_mut().insert(name.to_owned(), value.clone());
        value
    }

    /// Everything has been asked.
    pub fn again(&self) -> Again {
        Again(Arc::new(self.noted.borrow().clone()))
    }
}

impl Again {
    /// The source.
    pub fn source(
        &self,
        raw: &Option<String>,
        global: &Global,
        now: SourceUrl,
    ) -> Renewed<SourceUrl> {
        let (text, flags) = (raw.clone(), global.clone());
        let read = move |environment: Environment<'_>| {
            source::source(&text, &flags, environment).map(|(source, _)| source)
        };
        self.value(now, files_of([raw]), read)
    }

    /// The graph.
    pub fn graph(
        &self,
        raw: &RawGraph,
        global: &Global,
        now: neo4j::Options,
    ) -> Renewed<neo4j::Options> {
        let (texts, flags) = (raw.clone(), global.clone());
        let read = move |environment: Environment<'_>| {
            let expand = |key, value: &Option<String>| expand(key, value, environment);
            graph::graph(&texts, &flags, environment, &expand)?.ok_or(ConfigError::NoGraph)
        };
        self.value(now, files_of([&raw.url, &raw.user, &raw.password]), read)
    }

    /// librdkafka's settings.
    pub fn kafka(&self, raw: &RawKafka, options: &mut KafkaOptions) {
        let (settings, has_tokens) = (raw.properties.clone(), options.oauth_token_file.is_some());
        let texts: Vec<_> = settings.values().map(|setting| Some(setting.text())).collect();
        let read = move |environment: Environment<'_>| {
            let expand = |key, value: &Option<String>| expand(key, value, environment);
            kafka::properties(&settings, has_tokens, &expand).map(|properties| properties.now())
        };
        let now = options.properties.now();
        options.properties = self.value(now, files_of(&texts), read).into();
    }

    /// What requests for pages have to show.
    pub fn token(&self, raw: &RawHttp, now: Secret) -> Renewed<Secret> {
        let text = raw.clone();
        let read = move |environment: Environment<'_>| {
            let expand = |key, value: &Option<String>| expand(key, value, environment);
            http::token(&text, &expand)?.ok_or(ConfigError::EmptyToken)
        };
        self.value(now, files_of([&raw.token]), read)
    }

    /// A value that is read again if files have some of it.
    fn value<T: Clone>(
        &self,
        now: T,
        files: Vec<String>,
        read: impl Fn(Environment<'_>) -> Result<T, ConfigError> + Send + Sync + 'static,
    ) -> Renewed<T> {
        if files.is_empty() {
            return Renewed::fixed(now);
        }
        let (noted, told) = (self.0.clone(), Mutex::new(None));
        let read = move || {
            let value = read(&|name| noted.get(name).cloned().flatten());
            tell(&told, value.as_ref().err());
            value.ok()
        };
        Renewed::by(now, files, read)
    }
}

/// The log has a reason once, until it is over.
fn tell(told: &Mutex<Option<String>>, error: Option<&ConfigError>) {
    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
    let text = error.map(ToString::to_string);
    if let Some(error) = text.as_ref().filter(|text| told.as_ref() != Some(*text)) {
        tracing::warn!(
            error,
            "a file of the configuration is not as it should be: going on with what it had before"
        );
    }
    *told = text;
}

/// The files that texts refer to.
fn files_of<'a>(texts: impl IntoIterator<Item = &'a Option<String>>) -> Vec<String> {
    let texts = texts.into_iter().flatten();
    let mut files: Vec<_> =
        texts.flat_map(|text| substitute::files(text)).map(str::to_owned).collect();
    files.sort();
    files.dedup();
    files
}
