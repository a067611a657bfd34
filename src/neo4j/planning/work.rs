//! The texts to plan, wanted now or likely, and the plans that Neo4j probably has.

use std::{
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

/// A text by its hash: there are thousands, of some hundred characters each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Id(u64);

impl Id {
    pub fn of(text: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Id(hasher.finish())
    }
}

/// A lane's next text, and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Task {
    pub text: Arc<str>,
    /// No batch waits for it.
    pub ahead: bool,
}

/// The queues.
#[derive(Debug)]
pub(super) struct Work {
    likely: Vec<Arc<str>>,
    wanted: VecDeque<Arc<str>>,
    ahead: VecDeque<Arc<str>>,
    /// Texts that are wanted or with a lane: the batch that needs one waits.
    open: HashMap<Id, u32>,
    plans: Plans,
    /// The number of likely texts planned since the last restart of the work.
    done_ahead: usize,
}

impl Work {
    /// Plans all of `likely`, as far as the server keeps so many plans.
    pub fn new(likely: Vec<Arc<str>>) -> Self {
        let plans = Plans { room: usize::MAX, ..Plans::default() };
        let (wanted, ahead, open) = (VecDeque::new(), VecDeque::new(), HashMap::new());
        let mut work = Work { likely, wanted, ahead, open, plans, done_ahead: 0 };
        work.forget();
        work
    }

    /// The server keeps this many plans, mostly ours.
    pub fn keep_to(&mut self, room: usize) {
        self.plans.room = room.max(1);
        self.ahead.truncate(room);
    }

    /// The server has lost its plans: it was restarted.
    pub fn forget(&mut self) {
        self.plans.used.clear();
        self.done_ahead = 0;
        self.ahead = self.likely.iter().take(self.plans.room).cloned().collect();
    }

    /// Whether every likely text has a plan.
    pub fn is_ready(&self) -> bool {
        self.ahead.is_empty() && self.likely.len() <= self.plans.room
    }

    /// The number of planned likely texts, once none is left to plan in advance.
    pub fn finished_ahead(&self) -> Option<usize> {
        self.ahead.is_empty().then_some(self.done_ahead)
    }

    /// The given texts that have no plan, each once. Marks the others as used.
    pub fn unplanned(&mut self, texts: &[Arc<str>]) -> Vec<Arc<str>> {
        let mut unplanned: Vec<Arc<str>> = Vec::new();
        for text in texts {
            let id = Id::of(text);
            if self.plans.has(id) {
                self.plans.use_it(id);
            } else if !unplanned.contains(text) {
                unplanned.push(text.clone());
            }
        }
        unplanned
    }

    /// A batch waits for these.
    pub fn want(&mut self, texts: &[Arc<str>]) {
        for text in texts {
            let open = self.open.entry(Id::of(text)).or_default();
            if *open == 0 {
                *open = 1;
                self.wanted.push_back(text.clone());
            }
        }
    }

    /// The number of these that still wait for a plan.
    pub fn left(&self, texts: &[Arc<str>]) -> usize {
        texts.iter().filter(|text| self.open.contains_key(&Id::of(text))).count()
    }

    /// The next text for a lane. `ahead`: the lane may plan in advance.
    pub fn take(&mut self, ahead: bool) -> Option<Task> {
        if let Some(text) = self.wanted.pop_front() {
            return Some(Task { text, ahead: false });
        }
        while let Some(text) = self.ahead.pop_front_if(|_| ahead) {
            let id = Id::of(&text);
            if !self.plans.has(id) && !self.open.contains_key(&id) {
                self.open.insert(id, 1);
                return Some(Task { text, ahead: true });
            }
        }
        None
    }

    /// A lane has planned it.
    pub fn planned(&mut self, task: &Task) {
        let id = Id::of(&task.text);
        self.open.remove(&id);
        self.plans.use_it(id);
        self.done_ahead += usize::from(task.ahead);
    }

    /// A lane failed because the server is unreachable. Batches continue without plans; texts
    /// planned in advance come again.
    pub fn failed(&mut self, task: Task) {
        self.open.remove(&Id::of(&task.text));
        for text in self.wanted.drain(..) {
            self.open.remove(&Id::of(&text));
        }
        if task.ahead {
            self.ahead.push_front(task.text);
        }
    }

    /// The text was planned, or will be, at its use.
    pub fn used(&mut self, text: &str) {
        self.plans.use_it(Id::of(text));
    }
}

/// The plans that a server keeps: the most recently used ones.
#[derive(Debug, Default)]
struct Plans {
    room: usize,
    clock: u64,
    used: HashMap<Id, u64>,
}

impl Plans {
    fn has(&self, id: Id) -> bool {
        self.used.contains_key(&id)
    }

    fn use_it(&mut self, id: Id) {
        self.clock += 1;
        self.used.insert(id, self.clock);
        if self.used.len() > self.room
            && let Some(oldest) = self.used.iter().min_by_key(|(_, at)| **at).map(|(id, _)| *id)
        {
            self.used.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Task, Work};

    fn texts(names: &[&str]) -> Vec<Arc<str>> {
        names.iter().map(|name| Arc::from(*name)).collect()
    }

    fn take(work: &mut Work, ahead: bool) -> Option<String> {
        let task = work.take(ahead)?;
        work.planned(&task);
        Some(task.text.to_string())
    }

    #[test]
    fn what_a_batch_waits_for_comes_before_what_is_likely() {
        let mut work = Work::new(texts(&["a", "b"]));
        work.want(&texts(&["x"]));
        let of = |it: &str| Some(it.to_owned());
        assert_eq!(take(&mut work, true), of("x"));
        assert_eq!(take(&mut work, false), None, "a lane for batches alone");
        assert_eq!((take(&mut work, true), take(&mut work, true)), (of("a"), of("b")));
        assert!(work.is_ready());
        assert_eq!(work.unplanned(&texts(&["a", "b", "c", "c", "x"])), texts(&["c"]));
    }

    #[test]
    fn a_text_that_is_being_planned_is_waited_for_and_not_planned_twice() {
        let mut work = Work::new(texts(&["a"]));
        let task = work.take(true).expect("a is to be planned");
        work.want(&texts(&["a"]));
        assert_eq!(work.take(true), None);
        assert_eq!(work.left(&texts(&["a"])), 1);
        work.planned(&task);
        assert_eq!(work.left(&texts(&["a"])), 0);
    }

    #[test]
    fn a_failure_keeps_no_batch_waiting() {
        let mut work = Work::new(texts(&["a"]));
        work.want(&texts(&["x"]));
        let x = work.take(true).expect("x is wanted");
        let a = work.take(true).expect("a is likely");
        work.want(&texts(&["y", "z"]));
        work.failed(x);
        work.failed(a);
        assert_eq!(work.left(&texts(&["x", "y", "z"])), 0);
        assert_eq!(work.unplanned(&texts(&["x"])), texts(&["x"]), "it has no plan for that");
        assert_eq!(work.take(true), Some(Task { text: "a".into(), ahead: true }), "again");
    }

    #[test]
    fn a_server_that_was_started_again_has_no_plans() {
        let mut work = Work::new(texts(&["a"]));
        take(&mut work, true);
        work.forget();
        assert!(!work.is_ready());
        assert_eq!(work.unplanned(&texts(&["a"])), texts(&["a"]));
        assert_eq!(take(&mut work, true), Some("a".to_owned()));
    }

    #[test]
    fn no_more_is_planned_ahead_than_the_server_keeps() {
        let mut work = Work::new(texts(&["a", "b", "c"]));
        work.keep_to(2);
        while take(&mut work, true).is_some() {}
        assert_eq!(work.finished_ahead(), Some(2));
        assert!(!work.is_ready(), "batches of more texts than that still wait");
        work.unplanned(&texts(&["a"]));
        work.used("d");
        assert_eq!(work.unplanned(&texts(&["a", "b", "d"])), texts(&["b"]), "used longest ago");
    }
}
