//! The site that `make docs` builds: each page, each picture, and the index of the search.

use std::process::Command;

use crate::how_to::cache;
use crate::pages::documents;
use crate::world::skipped;

#[test]
fn the_site_has_each_page_and_a_search() {
    let mdbook = cache("mdbook/bin/mdbook");
    if !mdbook.is_file() {
        return skipped("mdBook is not here (make docs)");
    }
    let site = tempfile::tempdir().unwrap();
    let mut build = Command::new(mdbook);
    build.arg("build").arg("--dest-dir").arg(site.path()).current_dir(documents().join(".."));
    let built = build.output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let summary = std::fs::read_to_string(documents().join("SUMMARY.md")).unwrap();
    let pages: Vec<&str> = summary.lines().filter_map(|line| line.split_once("](")?.1.strip_suffix(".md)")).collect();
    assert!(pages.len() > 60, "{pages:?}");
    for page in pages {
        let html = std::fs::read_to_string(site.path().join(format!("{page}.html"))).unwrap_or_default();
        assert!(html.contains("<main>"), "{page}");
        // What a page shows is beside it.
        let folder = site.path().join(format!("{page}.html"));
        for picture in html.split("<img src=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(folder.with_file_name("").join(picture).is_file(), "{page}: {picture}");
        }
    }
    let files: Vec<_> = std::fs::read_dir(site.path()).unwrap().map(|item| item.unwrap().file_name()).collect();
    let has_search = files.iter().any(|name| name.to_string_lossy().starts_with("searchindex"));
    assert!(has_search, "{files:?}");
}
