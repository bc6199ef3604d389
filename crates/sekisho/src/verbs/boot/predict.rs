use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use sekisho_evidence::boot::{PackedFile, PredictedEvent, Prediction};
use serde_json::{Value, json};

use super::file::read;
use crate::exit::{Exit, Failure};
use crate::global::Global;
use crate::output::{Column, print, printable, table};

#[derive(Debug, Args)]
pub(crate) struct PredictArgs {
    /// Unified kernel image: a kernel with systemd-stub, as `ukify` and `objcopy` make it
    image: PathBuf,
    /// Name of the image in a boot policy; default: the file's name
    #[arg(long, env = "SEKISHO_BOOT_IMAGE_NAME")]
    name: Option<String>,
    /// Also list the digests of the initramfs's files as `ima` of the image: a node is then refused that uses any
    /// other file
    #[arg(long, env = "SEKISHO_BOOT_IMA")]
    ima: bool,
    /// For machines whose firmware enforces signatures: their firmware does not measure the kernel in the image once
    /// more, and `secure_boot` of the image is set
    #[arg(long, env = "SEKISHO_BOOT_SECURE_BOOT")]
    secure_boot: bool,
}

pub(super) fn run(global: &Global, args: &PredictArgs) -> Result<Exit, Failure> {
    let image = read(&args.image)?;
    let predicted = if args.secure_boot { Prediction::under_secure_boot(&image) } else { Prediction::of(&image) };
    let predicted = predicted.map_err(|error| Failure::failed(format!("{}: {error}", args.image.display())))?;
    let file_name = || args.image.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = args.name.clone().unwrap_or_else(file_name);
    let mut shown = form(&name, &predicted);
    if args.secure_boot
        && let Some(image) = shown.get_mut("image").and_then(Value::as_object_mut)
    {
        image.insert("secure_boot".to_owned(), true.into());
    }
    if args.ima {
        let unread = || {
            let image = args.image.display();
            Failure::failed(format!(
                "{image}: its initramfs is compressed in a way that is not read here; leave out `--ima`"
            ))
        };
        let files = predicted.files.as_ref().ok_or_else(unread)?;
        let digests: BTreeSet<String> = files.iter().map(|file| hex::encode(&file.sha256)).collect();
        if let Some(image) = shown.get_mut("image").and_then(Value::as_object_mut) {
            image.insert("ima".to_owned(), json!(digests));
        }
    }
    print(global.output, &shown, || text(&predicted))?;
    Ok(Exit::Ok)
}

/// `image` is an element of `images` in a boot policy.
fn form(name: &str, predicted: &Prediction) -> Value {
    let events = predicted.events.iter().filter(|event| event.is_of_image);
    let events =
        events.map(|event| json!({"pcr": event.pcr, "sha256": hex::encode(&event.digest), "what": event.what}));
    let pcrs = predicted.pcrs().into_iter().map(|(pcr, value)| (pcr.to_string(), hex::encode(value).into()));
    let file = |file: &PackedFile| {
        let PackedFile { path, sha256, is_executable } = file;
        json!({"path": path, "sha256": hex::encode(sha256), "executable": is_executable})
    };
    json!({
        "image": {"name": name, "events": events.collect::<Vec<_>>(), "empty_pcrs": predicted.empty},
        "systemd_stub": predicted.stub,
        "pcrs": Value::Object(pcrs.collect()),
        "files": predicted.files.as_ref().map(|files| files.iter().map(file).collect::<Vec<_>>()),
    })
}

fn text(predicted: &Prediction) -> String {
    let columns: [Column<'_, PredictedEvent>; 3] = [
        ("PCR", &|event| event.pcr.to_string()),
        ("SHA-256", &|event| hex::encode(&event.digest)),
        ("WHAT", &|event| event.what.clone()),
    ];
    let pcrs: Vec<_> = predicted.pcrs().into_iter().collect();
    let value: [Column<'_, (u8, Vec<u8>)>; 2] =
        [("PCR", &|(pcr, _)| pcr.to_string()), ("VALUE AFTER THE BOOT", &|(_, value)| hex::encode(value))];
    let programs = predicted.files.as_ref().map(|files| files.iter().filter(|f| f.is_executable).collect::<Vec<_>>());
    let file: [Column<'_, &PackedFile>; 2] =
        [("PROGRAM IN THE INITRAMFS", &|file| printable(&file.path)), ("SHA-256", &|file| hex::encode(&file.sha256))];
    let programs = match programs {
        Some(programs) => table(&programs, &file),
        None => "the initramfs is compressed in a way that is not read here (gzip and none are)".to_owned(),
    };
    [table(&predicted.events, &columns), table(&pcrs, &value), programs].map(|t| t.trim_end().to_owned()).join("\n\n")
}
