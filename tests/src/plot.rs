//! Figures of a benchmark as a drawing: one chart, logarithmic to the right, as SVG.
//!
//! Enough for `scale.rs`, which draws nothing else.

use std::fmt::Write as _;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;
/// Lines across, besides the axis.
const LINES: u32 = 5;
const COLOURS: [&str; 3] = ["#1f5fa8", "#b5481c", "#4a7a2f"];

/// Points that belong together: where to the right, and least, middle and most upwards.
pub struct Series<'a> {
    /// Its name in the legend.
    pub name: &'a str,
    /// From left to right. What is at 0 stands one decade left of the least other.
    pub points: Vec<(f64, [f64; 3])>,
}

/// Where values stand in the drawing.
struct Scale {
    /// The first decade to the right, and the last.
    first: f64,
    last: f64,
    /// The highest value.
    top: f64,
}

impl Scale {
    fn of(series: &[Series<'_>]) -> Self {
        let points = || series.iter().flat_map(|s| &s.points);
        let least = points().map(|p| p.0).filter(|x| *x > 0.0);
        let least = least.fold(f64::INFINITY, f64::min).log10().floor();
        let zero = points().any(|p| p.0 <= 0.0);
        Scale {
            first: if zero { least - 1.0 } else { least },
            last: points().map(|p| p.0).fold(1.0, f64::max).log10().ceil(),
            top: ceiling(points().map(|p| p.1[2]).fold(0.0, f64::max)),
        }
    }

    fn across(&self, x: f64) -> f64 {
        let decade = if x > 0.0 { x.log10() } else { self.first };
        let decades = (self.last - self.first).max(1.0);
        LEFT + (decade - self.first) / decades * (WIDTH - LEFT - RIGHT)
    }

    fn upward(&self, y: f64) -> f64 {
        HEIGHT - BOTTOM - y / self.top * (HEIGHT - TOP - BOTTOM)
    }
}

/// Draws series under a title, with the names of both axes.
#[must_use]
pub fn svg(title: &str, right: &str, up: &str, series: &[Series<'_>]) -> String {
    let scale = Scale::of(series);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"18\" font-size=\"14\">{title}</text>\n\
         <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{right}</text>\n\
         <text x=\"{LEFT}\" y=\"{}\" fill=\"#555555\">{up}</text>\n",
        WIDTH - RIGHT,
        HEIGHT - 8.0,
        TOP - 6.0,
    );
    axes(&mut out, &scale, series);
    for (number, (series, colour)) in series.iter().zip(COLOURS).enumerate() {
        curve(&mut out, &scale, series, colour);
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\" fill=\"{colour}\">{}</text>",
            WIDTH - RIGHT,
            18 + 14 * number,
            series.name
        );
    }
    out.push_str("</svg>\n");
    out
}

fn axes(out: &mut String, scale: &Scale, series: &[Series<'_>]) {
    for line in 0..=LINES {
        let value = scale.top * f64::from(line) / f64::from(LINES);
        let y = scale.upward(value);
        let _ = writeln!(
            out,
            "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{}\" y2=\"{y:.1}\" stroke=\"#dddddd\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value:.0}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            y + 4.0,
        );
    }
    let points = series.iter().flat_map(|s| &s.points);
    let mut places: Vec<f64> = points.map(|p| p.0).collect();
    places.sort_by(f64::total_cmp);
    places.dedup();
    for x in places {
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{x}</text>",
            scale.across(x),
            HEIGHT - BOTTOM + 18.0,
        );
    }
}

fn curve(out: &mut String, scale: &Scale, series: &Series<'_>, colour: &str) {
    let at =
        |(x, y): &(f64, [f64; 3])| format!("{:.1},{:.1}", scale.across(*x), scale.upward(y[1]));
    let path: Vec<String> = series.points.iter().map(at).collect();
    let _ = writeln!(
        out,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
        path.join(" ")
    );
    for (x, [low, middle, high]) in &series.points {
        let x = scale.across(*x);
        let _ = writeln!(
            out,
            "<line x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{:.1}\" stroke=\"{colour}\"/>\
             <circle cx=\"{x:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>",
            scale.upward(*low),
            scale.upward(*high),
            scale.upward(*middle),
        );
    }
}

/// The least of 1, 2 or 5 times a power of ten that is not below `value`.
fn ceiling(value: f64) -> f64 {
    let power = 10_f64.powf(value.max(1.0).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    steps
        .into_iter()
        .find(|step| *step >= value)
        .unwrap_or(power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_stands_inside_of_the_drawing() {
        let points = vec![(0.0, [1.0, 2.0, 3.0]), (1e6, [10.0, 20.0, 199.0])];
        let drawn = svg("t", "r", "u", &[Series { name: "s", points }]);
        assert!(drawn.contains(">200<"), "{drawn}");
        for circle in drawn.split("<circle cx=\"").skip(1) {
            let x: f64 = circle.split('"').next().unwrap().parse().unwrap();
            assert!((LEFT..=WIDTH - RIGHT).contains(&x), "{x}");
        }
    }
}
