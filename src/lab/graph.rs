//! A lab drawn: as text, and as an SVG picture.
//!
//! Pure, and the same picture each time for the same file.

use std::f64::consts::TAU;

use super::topology::{Interface, Join, Topology};
use crate::netns::firewall::Statement;
use crate::netns::traffic::Shape;
use crate::policy::spec::show_duration;

/// The lab as text: each node with its interfaces, and what is at their other end.
#[must_use]
pub fn text(topology: &Topology) -> String {
    let count = |number: usize, one: &str| match number {
        1 => format!("1 {one}"),
        number => format!("{number} {one}s"),
    };
    let mut page = format!(
        "{}: {}, {}, {}\n",
        topology.name,
        count(topology.nodes.len(), "node"),
        count(topology.links.len(), "link"),
        count(topology.bridges.len(), "bridge"),
    );
    for (number, node) in topology.nodes.iter().enumerate() {
        let mut notes: Vec<String> = Vec::new();
        if node.forward {
            notes.push("forwards".to_owned());
        }
        if let Some(firewall) = &node.firewall {
            let nat = firewall.statements.statements().iter().any(|statement| {
                matches!(
                    statement,
                    Statement::Masquerade { .. } | Statement::Dnat { .. }
                )
            });
            notes.push(if nat { "firewall, NAT" } else { "firewall" }.to_owned());
        }
        if let Some(uplink) = &node.uplink {
            notes.push(format!("outside by {uplink}"));
        }
        let notes = match notes.join(", ") {
            notes if notes.is_empty() => notes,
            notes => format!(" ({notes})"),
        };
        page.push_str(&format!("\n{}{notes}\n", node.name));
        for (place, interface) in node.interfaces.iter().enumerate() {
            let far = far_end(topology, (number, place), interface);
            let addresses: Vec<String> = interface
                .addresses
                .iter()
                .map(ToString::to_string)
                .collect();
            let line = format!(
                "  {:<8} -- {far:<20} {}{}",
                interface.name,
                addresses.join(" "),
                show_traffic(&interface.traffic)
            );
            page.push_str(line.trim_end());
            page.push('\n');
        }
        for route in &node.routes {
            let to = match route.to.prefix_len() {
                0 => "default".to_owned(),
                _ => route.to.to_string(),
            };
            page.push_str(&format!("  {to} via {} {}\n", route.via, route.interface));
        }
    }
    for bridge in &topology.bridges {
        let members: Vec<String> = bridge
            .members
            .iter()
            .map(|&end| end_name(topology, end))
            .collect();
        page.push_str(&format!("\n[{}] {}\n", bridge.name, members.join(" ")));
    }
    page
}

fn end_name(topology: &Topology, end: (usize, usize)) -> String {
    format!(
        "{}:{}",
        topology.nodes[end.0].name,
        topology.interface(end).name
    )
}

fn far_end(topology: &Topology, end: (usize, usize), interface: &Interface) -> String {
    match interface.join {
        Join::Port(bridge) => format!("[{}]", topology.bridges[bridge].name),
        Join::Bridge(_) => "[itself]".to_owned(),
        Join::Link(link) => {
            let link = &topology.links[link];
            let [left, right] = link.ends;
            let other = if left == end { right } else { left };
            let unplugged = if link.up { "" } else { " (unplugged)" };
            format!("{}{unplugged}", end_name(topology, other))
        }
    }
}

fn show_traffic(traffic: &Shape) -> String {
    let mut words: Vec<String> = Vec::new();
    words.extend(traffic.rate.map(|rate| rate.to_string()));
    words.extend(
        traffic
            .delay
            .map(|delay| format!("+{}", show_duration(delay))),
    );
    words.extend(traffic.loss.map(|loss| format!("-{loss}")));
    match words.is_empty() {
        true => String::new(),
        false => format!("  {{{}}}", words.join(" ")),
    }
}

/// What is drawn as a box: a node or a bridge.
struct Box<'a> {
    label: &'a str,
    lines: Vec<String>,
    is_bridge: bool,
}

impl Box<'_> {
    fn size(&self) -> (f64, f64) {
        let longest = self.lines.iter().map(|line| line.chars().count());
        let longest = longest.chain([self.label.len() + 2]).max().unwrap_or(1);
        let (letters, lines) = (to_f64(longest), to_f64(self.lines.len()));
        (letters * 7.0 + 16.0, lines * 14.0 + 26.0)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of what is drawn on one page"
)]
fn to_f64(number: usize) -> f64 {
    number as f64
}

/// A line between two boxes, with what stands at its ends.
struct Line {
    ends: (usize, usize),
    labels: [String; 2],
    is_up: bool,
}

/// The lab as an SVG picture.
#[must_use]
pub fn svg(topology: &Topology) -> String {
    let (boxes, lines) = parts(topology);
    let places = lay_out(&boxes, &lines);
    let right = boxes
        .iter()
        .zip(&places)
        .map(|(drawn, (x, _))| x + drawn.size().0 / 2.0)
        .fold(0.0, f64::max);
    let bottom = boxes
        .iter()
        .zip(&places)
        .map(|(drawn, (_, y))| y + drawn.size().1 / 2.0)
        .fold(0.0, f64::max);
    let (width, height) = (right + 20.0, bottom + 20.0);
    let mut page = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         width=\"{width:.0}\" height=\"{height:.0}\" font-family=\"monospace\" font-size=\"11\">\n\
         <title>{}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        escape(&topology.name)
    );
    for line in &lines {
        let (from, to) = (places[line.ends.0], places[line.ends.1]);
        let dashes = if line.is_up {
            ""
        } else {
            " stroke-dasharray=\"4\""
        };
        page.push_str(&format!(
            "<line x1=\"{:.0}\" y1=\"{:.0}\" x2=\"{:.0}\" y2=\"{:.0}\" stroke=\"#666\"{dashes}/>\n",
            from.0, from.1, to.0, to.1
        ));
    }
    for (number, drawn) in boxes.iter().enumerate() {
        let ((x, y), (width, height)) = (places[number], drawn.size());
        let (left, top) = (x - width / 2.0, y - height / 2.0);
        let fill = if drawn.is_bridge {
            "#fff3d6"
        } else {
            "#e4eefc"
        };
        page.push_str(&format!(
            "<rect x=\"{left:.0}\" y=\"{top:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" \
             rx=\"5\" fill=\"{fill}\" stroke=\"#345\"/>\n\
             <text x=\"{x:.0}\" y=\"{:.0}\" text-anchor=\"middle\" font-weight=\"bold\">{}</text>\n",
            top + 17.0,
            escape(drawn.label)
        ));
        for (line, text) in drawn.lines.iter().enumerate() {
            page.push_str(&format!(
                "<text x=\"{:.0}\" y=\"{:.0}\">{}</text>\n",
                left + 8.0,
                top + 32.0 + to_f64(line) * 14.0,
                escape(text)
            ));
        }
    }
    // Over the boxes, or those near would cover them.
    for line in &lines {
        let (from, to) = (places[line.ends.0], places[line.ends.1]);
        for (label, share) in line.labels.iter().zip([0.38, 0.62]) {
            if label.is_empty() {
                continue;
            }
            let (x, y) = (
                from.0 + (to.0 - from.0) * share,
                from.1 + (to.1 - from.1) * share,
            );
            page.push_str(&format!(
                "<text x=\"{x:.0}\" y=\"{y:.0}\" text-anchor=\"middle\" fill=\"#a33\" \
                 stroke=\"white\" stroke-width=\"3\" paint-order=\"stroke\">{}</text>\n",
                escape(label)
            ));
        }
    }
    page.push_str("</svg>\n");
    page
}

fn parts(topology: &Topology) -> (Vec<Box<'_>>, Vec<Line>) {
    let mut boxes: Vec<Box<'_>> = Vec::new();
    for node in &topology.nodes {
        let lines = node.interfaces.iter().map(|interface| {
            let addresses: Vec<String> = interface
                .addresses
                .iter()
                .map(ToString::to_string)
                .collect();
            format!("{} {}", interface.name, addresses.join(" "))
        });
        boxes.push(Box {
            label: &node.name,
            lines: lines.collect(),
            is_bridge: false,
        });
    }
    let first = boxes.len();
    boxes.extend(topology.bridges.iter().map(|bridge| Box {
        label: &bridge.name,
        lines: Vec::new(),
        is_bridge: true,
    }));
    let label = |end| {
        show_traffic(&topology.interface(end).traffic)
            .trim()
            .to_owned()
    };
    let mut lines: Vec<Line> = Vec::new();
    for link in &topology.links {
        lines.push(Line {
            ends: (link.ends[0].0, link.ends[1].0),
            labels: link.ends.map(label),
            is_up: link.up,
        });
    }
    for (number, bridge) in topology.bridges.iter().enumerate() {
        let home = bridge.home.map(|node| (node, String::new()));
        let members = bridge.members.iter().map(|&end| (end.0, label(end)));
        lines.extend(home.into_iter().chain(members).map(|(node, label)| Line {
            ends: (node, first + number),
            labels: [label, String::new()],
            is_up: true,
        }));
    }
    (boxes, lines)
}

/// Where the boxes stand: lines pull, boxes push each other away, until all is quiet (Fruchterman and
/// Reingold, 1991). The middle of each.
fn lay_out(boxes: &[Box<'_>], lines: &[Line]) -> Vec<(f64, f64)> {
    let count = to_f64(boxes.len());
    let apart = boxes
        .iter()
        .map(|drawn| drawn.size().0.max(drawn.size().1 * 1.6))
        .fold(60.0, f64::max)
        + 50.0;
    let mut places: Vec<(f64, f64)> = (0..boxes.len())
        .map(|number| {
            let angle = TAU * to_f64(number) / count;
            (
                angle.cos() * apart * count.sqrt(),
                angle.sin() * apart * count.sqrt(),
            )
        })
        .collect();
    // Quadratic: fewer rounds for a large lab.
    let rounds = if boxes.len() > 60 { 80 } else { 300 };
    for round in 0..rounds {
        let reach = apart * (1.0 - to_f64(round) / to_f64(rounds));
        let mut pushes = vec![(0.0, 0.0); boxes.len()];
        for one in 0..boxes.len() {
            for other in one + 1..boxes.len() {
                let (x, y) = (
                    places[one].0 - places[other].0,
                    places[one].1 - places[other].1,
                );
                let far = x.hypot(y).max(1.0);
                let push = apart * apart / far / far;
                pushes[one].0 += x * push;
                pushes[one].1 += y * push;
                pushes[other].0 -= x * push;
                pushes[other].1 -= y * push;
            }
        }
        for Line {
            ends: (one, other), ..
        } in lines
        {
            let (x, y) = (
                places[*one].0 - places[*other].0,
                places[*one].1 - places[*other].1,
            );
            let pull = x.hypot(y) / apart;
            pushes[*one].0 -= x * pull;
            pushes[*one].1 -= y * pull;
            pushes[*other].0 += x * pull;
            pushes[*other].1 += y * pull;
        }
        for (place, (x, y)) in places.iter_mut().zip(pushes) {
            let far = x.hypot(y).max(1.0);
            place.0 += x / far * far.min(reach);
            place.1 += y / far * far.min(reach);
        }
    }
    let left = edge(boxes, &places, |drawn, place| {
        place.0 - drawn.size().0 / 2.0
    });
    let top = edge(boxes, &places, |drawn, place| {
        place.1 - drawn.size().1 / 2.0
    });
    places
        .into_iter()
        .map(|(x, y)| (x - left + 20.0, y - top + 20.0))
        .collect()
}

fn edge(boxes: &[Box<'_>], places: &[(f64, f64)], of: impl Fn(&Box<'_>, (f64, f64)) -> f64) -> f64 {
    boxes
        .iter()
        .zip(places)
        .map(|(drawn, place)| of(drawn, *place))
        .fold(f64::INFINITY, f64::min)
}

/// Text inside XML.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_xml_reads_in_its_own_way_is_escaped() {
        assert_eq!(
            escape("<a b=\"c\">&'"),
            "&lt;a b=&quot;c&quot;&gt;&amp;&#39;"
        );
    }
}
