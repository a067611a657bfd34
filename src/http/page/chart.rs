//! The last hour as a line.

use std::fmt::Write;

use super::escaped::Escaped;

/// A program that has just started has few samples: they are drawn as wide as these would be.
const WIDTH_MIN: usize = 30;
const HEIGHT: f64 = 40.0;

/// A line of samples, one unit each, the newest last and at the right edge. Where nobody knew the value, it has a gap.
pub fn hour(samples: &[Option<f64>], says: &str) -> String {
    let most = samples.iter().flatten().copied().fold(0.0, f64::max);
    let scale = if most > 0.0 { (HEIGHT - 2.0) / most } else { 0.0 };
    let width = samples.len().max(WIDTH_MIN);
    let mut x = width - samples.len();
    let (mut line, mut area) = (String::new(), String::new());
    for known in samples.split(Option::is_none) {
        let point = |(value, x): (&f64, usize)| format!("{x} {:.1}", HEIGHT - 1.0 - value * scale);
        let points: Vec<String> = known.iter().flatten().zip(x..).map(point).collect();
        if !points.is_empty() {
            let (points, last) = (points.join("L"), x + known.len() - 1);
            let _ = write!(line, "M{points}");
            let _ = write!(area, "M{x} {HEIGHT}L{points}L{last} {HEIGHT}Z");
        }
        x += known.len() + 1;
    }
    format!(
        "<svg class=hour role=img aria-label=\"{}\" viewBox=\"0 0 {} {HEIGHT}\" preserveAspectRatio=none>\
         <path class=area d=\"{area}\"/><path d=\"{line}\"/></svg>",
        Escaped(says),
        width - 1
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_sample_is_at_the_right_edge_and_what_is_not_known_is_a_gap() {
        let drawn = hour(&[Some(0.0), Some(2.0), None, Some(1.0)], "a \"line\"");
        assert!(drawn.contains("d=\"M26 39.0L27 1.0M29 20.0\""), "{drawn}");
        assert!(
            drawn.contains("d=\"M26 40L26 39.0L27 1.0L27 40ZM29 40L29 20.0L29 40Z\""),
            "{drawn}"
        );
        assert!(drawn.contains("aria-label=\"a &quot;line&quot;\""), "{drawn}");
        assert!(hour(&[], "nothing").contains("d=\"\""));
        assert!(hour(&[Some(0.0)], "zero").contains("M29 39.0"));
    }
}
