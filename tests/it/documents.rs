//! The links of all documents: each relative link and each anchor must have a target.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders with files that are not ours, beside all whose name begins with a dot.
const SKIPPED: &[&str] = &["target", "dist", "node_modules", "corpus"];

struct Link {
    line: usize,
    target: String,
}

fn documents(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() && !path.is_symlink() {
            if !name.starts_with('.') && !SKIPPED.contains(&&*name) {
                documents(&path, found);
            }
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
}

/// Returns the lines outside of code fences with their numbers.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut fence: Option<&str> = None;
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        let marker = ["```", "~~~"].into_iter().find(|marker| trimmed.starts_with(marker));
        match (fence, marker) {
            (None, Some(_)) => fence = marker,
            (Some(open), Some(close)) if open == close => fence = None,
            (None, None) => lines.push((index + 1, line)),
            (Some(_), _) => {}
        }
    }
    lines
}

/// Returns the line without its inline code.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("``")
}

/// Returns the links `[text](target)` and `[name]: target`.
fn links(text: &str) -> Vec<Link> {
    let mut links = Vec::new();
    for (line, content) in prose(text) {
        let content = without_code(content);
        let inline = content.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
        let reference = content.trim_start().strip_prefix('[').and_then(|rest| rest.split_once("]: "));
        for target in inline.chain(reference.map(|(_, target)| target)) {
            let target = target.split_whitespace().next().unwrap_or_default().trim_matches(['<', '>']);
            links.push(Link { line, target: target.to_owned() });
        }
    }
    links
}

/// Returns the anchors of a document as GitHub makes them from its headings.
fn anchors(text: &str) -> Vec<String> {
    let mut seen = BTreeMap::<String, usize>::new();
    let headings = prose(text).into_iter().filter_map(|(_, line)| {
        let title = line.trim_start_matches('#');
        (title.len() < line.len() && title.starts_with(' ')).then(|| title.trim().to_owned())
    });
    let mut anchors: Vec<_> = headings
        .map(|title| {
            // A link in a heading counts with its text alone.
            let mut text = String::new();
            for (index, part) in title.split("](").enumerate() {
                text.push_str(if index == 0 { part } else { part.split_once(')').map_or(part, |(_, rest)| rest) });
            }
            let slug: String = text
                .to_lowercase()
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect();
            let times = seen.entry(slug.clone()).or_default();
            *times += 1;
            if *times == 1 { slug } else { format!("{slug}-{}", *times - 1) }
        })
        .collect();
    let written = text.split("<a id=\"").skip(1).filter_map(|rest| rest.split_once('"'));
    anchors.extend(written.map(|(name, _)| name.to_owned()));
    anchors
}

/// Returns the reason why a link leads nowhere, if it does. Links with a scheme are not followed.
fn fault(document: &Path, text: &str, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let file = if path.is_empty() { document.to_owned() } else { document.parent()?.join(path) };
    if !file.exists() {
        return Some("the file does not exist".to_owned());
    }
    let anchor = anchor?;
    let linked = if path.is_empty() { text.to_owned() } else { fs::read_to_string(&file).unwrap_or_default() };
    (!anchors(&linked).iter().any(|it| it == anchor)).then(|| "the anchor does not exist".to_owned())
}

#[test]
fn links_of_documents_have_a_target() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    documents(root, &mut files);
    let (mut count, mut faults) = (0, Vec::new());
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for Link { line, target } in links(&text) {
            count += 1;
            let name = file.strip_prefix(root).unwrap().display();
            faults.extend(fault(&file, &text, &target).map(|why| format!("{name}:{line}: {target}: {why}")));
        }
    }
    assert!(count > 30, "only {count} links were found");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn dead_links_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let document = folder.path().join("a.md");
    fs::write(folder.path().join("b.md"), "# The `code` of *it*, twice\n## Same\n## Same\n## [A link](c.md) here\n")
        .unwrap();
    let text = "# Top\n[a](b.md) [b](b.md#same-1) [c](#top) [d](https://example.com/#x) ![e](none.png)\n\
                ```\n# Not a heading\n[f](none.md)\n```\n`[g](none.md)` [h](b.md#the-code-of-it-twice) [i](b.md#same-2)\n\
                [j](#not-a-heading) [k](b.md#a-link-here)\n[l]: none.md\n";
    fs::write(&document, text).unwrap();
    let dead: Vec<_> = links(text).into_iter().filter(|link| fault(&document, text, &link.target).is_some()).collect();
    let dead: Vec<_> = dead.iter().map(|link| (link.line, &*link.target)).collect();
    assert_eq!(dead, [(2, "none.png"), (7, "b.md#same-2"), (8, "#not-a-heading"), (9, "none.md")]);
}
