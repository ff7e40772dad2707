//! Line charts as SVG. Small on purpose: two kinds of scale, a legend, and a tooltip on every point.

use std::fmt::Write as _;

use super::html::escape;
use super::number;

/// A named line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Chart {
    pub(crate) title: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) series: Vec<Series>,
}

#[derive(Clone, Debug)]
pub(crate) struct Axis {
    label: String,
    scale: Scale,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scale {
    /// From 0.
    Linear,
    /// Powers of ten.
    Log,
    /// A quantile, by the number of its nines: 0.9, 0.99, 0.999 are evenly apart.
    Nines,
}

impl Axis {
    pub(crate) fn linear(label: &str) -> Self {
        Self { label: label.to_owned(), scale: Scale::Linear }
    }

    pub(crate) fn log(label: &str) -> Self {
        Self { label: label.to_owned(), scale: Scale::Log }
    }

    pub(crate) fn nines(label: &str) -> Self {
        Self { label: label.to_owned(), scale: Scale::Nines }
    }

    /// Where a value stands, in units of the scale.
    fn place(&self, value: f64) -> f64 {
        /// What is shown of a latency of nothing, in ms.
        const LEAST: f64 = 1e-3;
        /// Quantiles nearer to 1 than this are at the end.
        const REST_MIN: f64 = 1e-6;
        match self.scale {
            Scale::Linear => value,
            Scale::Log => value.max(LEAST).log10(),
            Scale::Nines => -(1.0 - value).max(REST_MIN).log10(),
        }
    }

    fn range(&self, values: impl Iterator<Item = f64>) -> (f64, f64) {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for place in values.map(|value| self.place(value)) {
            (low, high) = (low.min(place), high.max(place));
        }
        match self.scale {
            Scale::Linear => (low.min(0.0), if high > 0.0 { high * 1.05 } else { 1.0 }),
            Scale::Log => (low.floor(), high.ceil().max(low.floor() + 1.0)),
            Scale::Nines => (0.0, high.max(1.0)),
        }
    }

    /// Places and their labels.
    fn ticks(&self, low: f64, high: f64) -> Vec<(f64, String)> {
        const WANTED: f64 = 6.0;
        match self.scale {
            Scale::Linear => {
                let rough = (high - low) / WANTED;
                let power = 10f64.powf(rough.log10().floor());
                let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough);
                let step = step.unwrap_or(rough);
                let first = (low / step).ceil() as i64;
                let last = (high / step).floor() as i64;
                (first..=last).map(|n| n as f64 * step).map(|value| (value, short(value))).collect()
            }
            Scale::Log => (low as i64..=high as i64).map(|n| (n as f64, short(10f64.powi(n as i32)))).collect(),
            Scale::Nines => [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999]
                .map(|value| (self.place(value), format!("{value}")))
                .into_iter()
                .filter(|(place, _)| *place <= high)
                .collect(),
        }
    }
}

/// `15000` as `15k`: ticks have little room.
fn short(value: f64) -> String {
    match value.abs() {
        magnitude if magnitude >= 1e9 => format!("{}G", number(value / 1e9)),
        magnitude if magnitude >= 1e6 => format!("{}M", number(value / 1e6)),
        magnitude if magnitude >= 1e4 => format!("{}k", number(value / 1e3)),
        _ => number(value),
    }
}

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 46.0;
const COLOURS: [&str; 6] = ["#1f6feb", "#d9480f", "#2b8a3e", "#862e9c", "#b08900", "#0b7285"];
/// Points of one line at most; a longer one is thinned, for the eye sees no more.
const POINTS_MAX: usize = 400;

impl Chart {
    pub(super) fn svg(&self) -> String {
        let all = || self.series.iter().flat_map(|series| &series.points);
        let (x_low, x_high) = self.x.range(all().map(|point| point.0));
        let (y_low, y_high) = self.y.range(all().map(|point| point.1));
        let x_at = |value: f64| LEFT + (value - x_low) / (x_high - x_low).max(1e-9) * (WIDTH - LEFT - RIGHT);
        let y_at =
            |value: f64| HEIGHT - BOTTOM - (value - y_low) / (y_high - y_low).max(1e-9) * (HEIGHT - TOP - BOTTOM);
        let mut out = String::new();
        self.frame(&mut out, &self.x.ticks(x_low, x_high), &self.y.ticks(y_low, y_high), x_at, y_at);
        for (place_in_legend, series) in self.series.iter().enumerate() {
            let colour = COLOURS[place_in_legend % COLOURS.len()];
            let every = series.points.len().div_ceil(POINTS_MAX).max(1);
            let last = series.points.len().saturating_sub(1);
            let kept = series.points.iter().enumerate().filter(|(n, _)| n % every == 0 || *n == last);
            let kept: Vec<_> = kept.map(|(_, point)| point).collect();
            let place = |&&(x, y): &&(f64, f64)| (x_at(self.x.place(x)), y_at(self.y.place(y)));
            let line: Vec<_> = kept.iter().map(place).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            line_to(&mut out, colour, &line.join(" "));
            for point in &kept {
                let (x, y) = place(point);
                let tip = format!(
                    "{} — {}: {}, {}: {}",
                    series.name,
                    self.x.label,
                    value(point.0),
                    self.y.label,
                    number(point.1)
                );
                dot(&mut out, colour, x, y, &escape(&tip));
            }
            let at = LEFT + 30.0 + place_in_legend as f64 * 150.0;
            legend(&mut out, colour, at, &escape(&series.name));
        }
        format!(
            "<figure><figcaption>{}</figcaption>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n{out}</svg></figure>\n",
            escape(&self.title)
        )
    }

    fn frame(
        &self,
        out: &mut String,
        x_ticks: &[(f64, String)],
        y_ticks: &[(f64, String)],
        x_at: impl Fn(f64) -> f64,
        y_at: impl Fn(f64) -> f64,
    ) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (place, label) in y_ticks {
            let y = y_at(*place);
            let _ = writeln!(out, "<line class=grid x1={LEFT} x2={right} y1={y:.1} y2={y:.1} />");
            let _ = writeln!(out, "<text x={} y={:.1} text-anchor=end>{label}</text>", LEFT - 8.0, y + 4.0);
        }
        for (place, label) in x_ticks {
            let x = x_at(*place);
            let _ = writeln!(out, "<line class=grid x1={x:.1} x2={x:.1} y1={TOP} y2={bottom} />");
            let _ = writeln!(out, "<text x={x:.1} y={} text-anchor=middle>{label}</text>", bottom + 18.0);
        }
        let middle = (LEFT + right) / 2.0;
        let _ =
            writeln!(out, "<text x={middle} y={} text-anchor=middle>{}</text>", HEIGHT - 8.0, escape(&self.x.label));
        let _ = writeln!(out, "<text x=8 y={}>{}</text>", TOP - 12.0, escape(&self.y.label));
    }
}

fn line_to(out: &mut String, colour: &str, points: &str) {
    let _ = writeln!(out, "<polyline fill=none stroke=\"{colour}\" stroke-width=2 points=\"{points}\" />");
}

fn dot(out: &mut String, colour: &str, x: f64, y: f64, tip: &str) {
    let _ = writeln!(out, "<circle cx={x:.1} cy={y:.1} r=2.2 fill=\"{colour}\"><title>{tip}</title></circle>");
}

fn legend(out: &mut String, colour: &str, x: f64, name: &str) {
    let _ = writeln!(out, "<rect x={x:.1} y=8 width=10 height=10 fill=\"{colour}\" />");
    let _ = writeln!(out, "<text x={:.1} y=17>{name}</text>", x + 15.0);
}

/// A place on the horizontal axis in full: quantiles have more digits than a reader of totals wants.
fn value(x: f64) -> String {
    if x < 1.0 { format!("{x:.5}") } else { number(x) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_holds_its_lines_legend_and_ticks_and_no_broken_number() {
        let series = vec![
            Series { name: "gates & routes".into(), points: vec![(0.0, 0.0), (15_000.0, 4.5e8)] },
            Series { name: "workers".into(), points: vec![(0.0, 1e6), (15_000.0, 9e7)] },
        ];
        let chart = Chart { title: "memory".into(), x: Axis::linear("connections"), y: Axis::linear("bytes"), series };
        let svg = chart.svg();
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(svg.contains("gates &amp; routes"), "{svg}");
        assert!(svg.contains(">400M<") && svg.contains(">10k<"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn nines_stand_evenly_apart() {
        let axis = Axis::nines("quantile");
        let places: Vec<_> = [0.9, 0.99, 0.999].map(|quantile| axis.place(quantile)).to_vec();
        assert!((places[1] - places[0] - (places[2] - places[1])).abs() < 1e-9, "{places:?}");
        assert!(axis.place(1.0).is_finite());
    }

    #[test]
    fn a_single_point_and_no_height_are_drawn_all_the_same() {
        let series = vec![Series { name: "one".into(), points: vec![(0.0, 0.0)] }];
        let chart = Chart { title: "t".into(), x: Axis::linear("x"), y: Axis::linear("y"), series };
        assert!(!chart.svg().contains("NaN"));
    }

    #[test]
    fn a_long_line_is_thinned_and_keeps_its_end() {
        let points: Vec<_> = (0..10_000).map(|n| (f64::from(n), f64::from(n))).collect();
        let series = vec![Series { name: "long".into(), points }];
        let svg = Chart { title: "t".into(), x: Axis::linear("x"), y: Axis::linear("y"), series }.svg();
        assert!(svg.matches("<circle").count() <= POINTS_MAX + 1);
        assert!(svg.contains("9,999"), "the last point is the one that is looked for");
    }
}
