//! The page: one file that fetches nothing.

use std::fmt::Write as _;

use super::Page;

const STYLE: &str = "
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 900px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0 0 1rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; } tr:nth-child(even) { background: var(--soft); } td:first-child { white-space: nowrap; }
figure { margin: 2rem 0; } figcaption { font-weight: 600; margin-bottom: .4rem; }
svg { width: 100%; height: auto; } svg text { font: 12px system-ui, sans-serif; fill: currentColor; } .grid { stroke: var(--line); stroke-width: 1; }
";

pub(super) fn render(page: &Page) -> String {
    let title = escape(&page.title);
    let mut body = format!("<h1>{title}</h1>\n<table>\n");
    for (name, value) in &page.facts {
        let _ = writeln!(body, "<tr><td>{}</td><td>{}</td></tr>", escape(name), escape(value));
    }
    body.push_str("</table>\n");
    for chart in &page.charts {
        body.push_str(&chart.svg());
    }
    for table in &page.tables {
        let _ = writeln!(body, "<h2>{}</h2>\n<table>", escape(&table.title));
        for (tag, row) in [("th", &table.head)].into_iter().chain(table.rows.iter().map(|row| ("td", row))) {
            let cells: String = row.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect();
            let _ = writeln!(body, "<tr>{cells}</tr>");
        }
        body.push_str("</table>\n");
    }
    format!(
        "<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n<meta name=viewport content=\"width=device-width\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )
}

/// Text as it may stand in an element or a quoted attribute.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup_and_nothing_is_fetched() {
        let mut page = Page::new("a <script>");
        page.fact("reason", "\"quoted\" & <b>");
        let html = render(&page);
        assert!(!html.contains("<script>") && !html.contains("<b>"), "{html}");
        assert!(html.contains("&quot;quoted&quot; &amp; &lt;b&gt;"), "{html}");
        assert!(!html.contains("http:") && !html.contains("https:"), "{html}");
    }
}
