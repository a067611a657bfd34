//! The timelines that a server's log went through before its own: what PostgreSQL keeps in a history file.

use crate::lsn::Lsn;

/// Timelines before a server's own, each with where its log ended, and the next one began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timelines(Vec<(i64, Lsn)>);

impl Timelines {
    /// Reads a history file: lines of a timeline, a position and a reason. What is no such line is none.
    pub fn parse(text: &str) -> Self {
        let ended = |line: &str| {
            let mut words = line.split_whitespace();
            Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
        };
        Timelines(text.lines().filter_map(ended).collect())
    }

    /// Where a timeline ended; `None`: it is not known as one of these.
    pub fn ended(&self, timeline: i64) -> Option<Lsn> {
        self.0.iter().find(|(it, _)| *it == timeline).map(|(_, at)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_file_says_where_each_timeline_ended() {
        let text =
            "1\t0/3000060\tno recovery target specified\n\n# words\n2\t1/A0\tbefore 2000-01-01\n";
        let timelines = Timelines::parse(text);
        assert_eq!(timelines.ended(1), Some(Lsn(0x300_0060)));
        assert_eq!(timelines.ended(2), Some(Lsn(0x1_0000_00A0)));
        assert_eq!(timelines.ended(3), None, "its own");
        assert_eq!(Timelines::parse("\u{fffd}\n1\n1 0/x\n").ended(1), None);
    }
}
