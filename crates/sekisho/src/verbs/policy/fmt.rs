//! `sekisho policy fmt`: the one layout of Rego files.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use sekisho_policy::{Source, parse};
use sekisho_rego::syntax::ast::Version;
use sekisho_rego::syntax::error::Error;
use sekisho_rego::syntax::{Options, format};
use serde::Serialize;

use super::files::rego_files;
use super::line_diff::unified;
use crate::exit::{Exit, Failure};
use crate::global::Global;
use crate::output::{line, print};
use crate::reach;

#[derive(Debug, Args)]
pub(crate) struct FmtArgs {
    /// Files, and folders with `.rego` files in them and below; `-`, or none, is stdin
    paths: Vec<PathBuf>,
    /// Write the files instead of printing them
    #[arg(short, long, env = "SEKISHO_POLICY_WRITE", conflicts_with_all = ["list", "diff"])]
    write: bool,
    /// Print only the names of files that would change
    #[arg(short, long, env = "SEKISHO_POLICY_LIST", conflicts_with = "diff")]
    list: bool,
    /// Print only what would change
    #[arg(short, long, env = "SEKISHO_POLICY_DIFF")]
    diff: bool,
    /// Exit with code 2 if a file would change
    #[arg(long, env = "SEKISHO_POLICY_FAIL")]
    fail: bool,
    /// Read version 0 and write a form that versions 0 and 1 read alike
    #[arg(long, env = "SEKISHO_POLICY_V0_V1", visible_alias = "rego-v1")]
    v0_v1: bool,
    /// Read files as version 0; by default, the words of a file say its version
    #[arg(long, env = "SEKISHO_POLICY_V0", conflicts_with = "v0_v1")]
    v0_compatible: bool,
}

/// A file, and whether its layout is another one.
#[derive(Serialize)]
struct Laid {
    file: String,
    changed: bool,
    #[serde(skip)]
    path: Option<PathBuf>,
    #[serde(skip)]
    old: String,
    text: String,
}

pub(super) fn run(global: &Global, args: &FmtArgs) -> Result<Exit, Failure> {
    let mut files = Vec::new();
    for path in named(&args.paths)? {
        files.push(lay_out(path, args)?);
    }
    if args.write {
        for file in files.iter().filter(|file| file.changed) {
            if let Some(path) = &file.path {
                replace(path, &file.text)?;
            }
        }
    }
    let shown = |file: &&Laid| !(args.list || args.diff || args.write) || file.changed;
    let rows: Vec<&Laid> = files.iter().filter(shown).collect();
    if global.output.is_for_people() {
        let text = |file: &&Laid| match (args.list || args.write, args.diff) {
            (true, _) => format!("{}\n", file.file),
            (false, true) => unified(&file.file, &file.old, &file.text),
            (false, false) => file.text.clone(),
        };
        let text: String = rows.iter().map(text).collect();
        if !text.is_empty() {
            line(text.strip_suffix('\n').unwrap_or(&text))?;
        }
    } else {
        print(global.output, &rows, String::new)?;
    }
    Ok(if args.fail && files.iter().any(|file| file.changed) { Exit::Denied } else { Exit::Ok })
}

/// The files that are meant; none is stdin.
fn named(paths: &[PathBuf]) -> Result<Vec<Option<PathBuf>>, Failure> {
    if paths.is_empty() {
        return Ok(vec![None]);
    }
    let mut out = Vec::new();
    for path in paths {
        if path == Path::new("-") {
            out.push(None);
        } else {
            out.extend(rego_files(path)?.into_iter().map(Some));
        }
    }
    Ok(out)
}

fn lay_out(path: Option<PathBuf>, args: &FmtArgs) -> Result<Laid, Failure> {
    let old = match &path {
        Some(path) => std::fs::read_to_string(path).map_err(|error| reach::unreadable(path, &error))?,
        None => std::io::read_to_string(std::io::stdin()).map_err(Failure::failed)?,
    };
    let file = path.as_ref().map_or_else(|| "stdin".to_owned(), |path| path.display().to_string());
    let text = if args.v0_v1 {
        format::upgrade(&file, &old).map_err(refused)?
    } else {
        let version = if args.v0_compatible { Version::V0 } else { version_of(&file, &old)? };
        format::format(&file, &old, Options { version, ..Options::default() }).map_err(refused)?
    };
    Ok(Laid { file, changed: text != old, path, old, text })
}

/// The version that the words of a file say it is in.
fn version_of(file: &str, text: &str) -> Result<Version, Failure> {
    let source = Source { name: file.to_owned(), text: text.to_owned() };
    let (dialect, _) = parse(&source).map_err(Failure::failed)?;
    Ok(dialect.options().version)
}

fn refused(errors: Vec<Error>) -> Failure {
    Failure::failed(errors.iter().map(Error::render).collect::<Vec<_>>().join("\n"))
}

/// Replaces a file as a whole: a reader sees the old text or the new one.
fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    // The file that a link points to, not the link.
    let path = &std::fs::canonicalize(path).map_err(|error| reach::unreadable(path, &error))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let beside = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::File::create_new(&beside)?;
        file.set_permissions(std::fs::metadata(path)?.permissions())?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    };
    write().map_err(|error| {
        let _may_be_absent = std::fs::remove_file(&beside);
        reach::unreadable(path, &error)
    })
}
