//! How many changes a sink accepts at once: halved after a refusal, then growing back.
//!
//! ```text
//! refused n --> n / 2 --> .. --> 1           as too large; as wrong, in steps of 16, to find the one
//! taken, again and again: a quarter more, but below what was refused, until that is long ago;
//!                         twice as many soon, if no size was refused, but a row
//! ```

/// Why a sink refuses several changes together. It may accept fewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// They are too many.
    TooLarge,
    /// One of them is wrong, or two that the source did not commit together.
    Wrong,
}

impl Refused {
    /// Its name, for logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Refused::TooLarge => "too_large",
            Refused::Wrong => "refused",
        }
    }
}

/// The number of changes, or rows, that a sink probably accepts at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portion {
    max: usize,
    /// The lowest number that the sink refused as too large.
    refused: usize,
    /// Portions accepted since the last change of `max`.
    taken: u32,
    /// Portions accepted since the last refusal.
    since: u32,
    /// The last refusal was of a row, not of a size.
    was_wrong: bool,
}

impl Default for Portion {
    fn default() -> Self {
        Portion::WHOLE
    }
}

impl Portion {
    /// No limit: the sink has refused nothing yet.
    pub const WHOLE: Portion =
        Portion { max: usize::MAX, refused: usize::MAX, taken: 0, since: 0, was_wrong: false };

    /// It grows by a quarter after this many full portions.
    const GROWS_AFTER: u32 = 32;
    /// After a wrong row it doubles after this many: the row is behind.
    const DOUBLES_AFTER: u32 = 4;
    /// It tries a refused size again after this many portions.
    const FORGETS_AFTER: u32 = 4_096;
    /// Above the limits of batches, so as good as no limit.
    const LARGEST: usize = 1 << 13;
    /// Rows with a wrong one are cut into this many parts: most are right.
    const APART: usize = 16;

    /// The portion after the sink has refused `count` together.
    pub fn after(self, refused: Refused, count: usize) -> Self {
        let was_wrong = refused == Refused::Wrong;
        let (max, refused) = match refused {
            Refused::TooLarge => (count / 2, self.refused.min(count)),
            Refused::Wrong => (count / Self::APART, usize::MAX),
        };
        Portion { max: max.max(1), refused, taken: 0, since: 0, was_wrong }
    }

    /// The lower of the portion and a limit.
    pub fn bound(self, limit: usize) -> usize {
        limit.min(self.max)
    }

    /// The maximum; `None` for no limit.
    pub fn limit(self) -> Option<usize> {
        (self.max < usize::MAX).then_some(self.max)
    }

    /// The sink has accepted `count` together. Only a full portion shows that more may be possible.
    pub fn taken(&mut self, count: usize) {
        if self.max == usize::MAX || count == 0 {
            return;
        }
        self.since = self.since.saturating_add(1);
        if self.since >= Self::FORGETS_AFTER {
            (self.refused, self.since) = (usize::MAX, 0);
        }
        if count >= self.max.div_ceil(2) {
            self.taken += 1;
        }
        let (after, more) = match self.was_wrong {
            true => (Self::DOUBLES_AFTER, self.max * 2),
            false => (Self::GROWS_AFTER, self.max + self.max.div_ceil(4)),
        };
        // The nearer a size is to the refused one, the likelier is another refusal.
        let ceiling = self.refused - self.refused / 4;
        if self.taken >= after && more <= ceiling {
            self.taken = 0;
            self.max = if more >= Self::LARGEST { usize::MAX } else { more };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Portion, Refused};

    /// Feeds full portions to a sink that accepts at most `capacity`. Returns the number of
    /// refusals.
    fn refusals(portion: &mut Portion, capacity: usize, portions: usize) -> usize {
        let mut refusals = 0;
        for _ in 0..portions {
            let count = portion.bound(5_000);
            if count > capacity {
                refusals += 1;
                *portion = portion.after(Refused::TooLarge, count);
            } else {
                portion.taken(count);
            }
        }
        refusals
    }

    #[test]
    fn what_is_too_large_is_not_tried_at_full_size_again_and_again() {
        let mut portion = Portion::WHOLE;
        assert_eq!(refusals(&mut portion, 700, 4_000), 4, "5000, 2500, 1250, 782");
        assert!(portion.bound(5_000) >= 350, "{portion:?}");
        let later = refusals(&mut portion, 700, 20_000);
        assert!((1..=10).contains(&later), "{later}: tried again, but seldom");
    }

    #[test]
    fn one_row_is_the_least() {
        let mut portion = Portion::WHOLE.after(Refused::TooLarge, 1);
        assert_eq!(portion.bound(10), 1);
        assert_eq!(refusals(&mut portion, 1, 100), 0);
    }

    #[test]
    fn it_grows_back_to_the_whole() {
        let mut portion = Portion::WHOLE.after(Refused::TooLarge, 64);
        refusals(&mut portion, usize::MAX, 10_000);
        assert_eq!(portion.bound(5_000), 5_000);
        let mut wrong = Portion::WHOLE.after(Refused::Wrong, 4_000);
        assert_eq!(wrong.bound(5_000), 250);
        assert_eq!(refusals(&mut wrong, usize::MAX, 32 * 20), 0);
        assert!(wrong.bound(5_000) > 4_000, "{wrong:?}");
    }

    /// With rows that are refused now and then, nearly all time went by in single rows.
    #[test]
    fn after_a_wrong_row_it_is_soon_whole_again() {
        let mut wrong = Portion::WHOLE.after(Refused::Wrong, 10);
        assert_eq!(wrong.bound(5_000), 1);
        assert_eq!(refusals(&mut wrong, usize::MAX, 4 * 13), 0);
        assert_eq!(wrong.bound(5_000), 5_000);
    }

    /// Batches that are small anyway tell nothing about large ones.
    #[test]
    fn small_batches_do_not_make_it_grow() {
        let mut portion = Portion::WHOLE.after(Refused::TooLarge, 1_000);
        (0..10_000).for_each(|_| portion.taken(3));
        assert_eq!(portion.bound(5_000), 500);
    }
}
