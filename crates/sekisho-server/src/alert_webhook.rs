//! Alerts on their way to a web server that the operator names: one by one, in order, each until it is accepted. A
//! receiver may get one twice, and knows it by its id. One that a receiver refuses again and again for what it holds is
//! skipped: nodes choose a part of its text, and none of them keeps the alerts of others back.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sekisho_api::AlertForm;
use sekisho_disk::{DiskError, write_atomic};
use sekisho_net::{NetError, WebClient, WebPost, WebPrefix};
use sekisho_store::StoreError;
use sekisho_types::Secret;
use serde::Serialize;
use tokio::sync::Mutex;

use crate::alert_form::alert_form;
use crate::config::WebhookArgs;
use crate::domain::{Domain, Shared};

/// In the server's folder: the id of the last alert that was accepted.
const FILE: &str = "alerts-sent";
/// Alerts that are read at once.
const BATCH: usize = 100;
/// How long a receiver that failed is left alone, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// How often a receiver refuses one alert until the next is sent.
const MOST_REFUSALS: u32 = 5;
/// How soon it is looked again for an alert before which another one may still come.
const UNSETTLED: Duration = Duration::from_millis(20);

#[derive(Debug, thiserror::Error)]
enum WebhookError {
    #[error("it cannot be reached: {0}")]
    Net(#[from] NetError),
    #[error("it answered with status {0}")]
    Status(u16),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("an alert could not be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl WebhookError {
    /// The receiver refuses what was sent to it, and not who sends it or when (RFC 9110, section 15.5).
    fn is_about_content(&self) -> bool {
        matches!(self, Self::Status(400 | 406 | 409..=422))
    }
}

#[derive(Serialize)]
struct Message<'a> {
    trust_domain: &'a str,
    #[serde(flatten)]
    alert: AlertForm,
}

pub(crate) struct AlertWebhook {
    url: WebPrefix,
    client: WebClient,
    token: Option<Secret<Vec<u8>>>,
    file: PathBuf,
    progress: Mutex<Progress>,
}

struct Progress {
    /// The last alert that was accepted or skipped; `None` before the first look.
    sent: Option<String>,
    /// How often the alert after it was refused.
    refusals: u32,
}

impl AlertWebhook {
    /// The webhook that is configured, if one is; else why it cannot be used.
    pub(crate) fn open(args: &WebhookArgs, folder: &Path) -> Result<Option<Arc<Self>>, String> {
        let Some(url) = &args.alert_webhook else { return Ok(None) };
        let url = WebPrefix::parse(url)?;
        // A machine without the file can still send to itself.
        let authorities = std::fs::read(&args.alert_webhook_ca).unwrap_or_default();
        let client = WebClient::new(&authorities).map_err(|error| error.to_string())?;
        let read = |file: &PathBuf| {
            let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
            let token = text.trim();
            let usable = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
            let wrong = || format!("{}: it holds no token of printable ASCII characters", file.display());
            if usable { Ok(Secret::new(token.as_bytes().to_vec())) } else { Err(wrong()) }
        };
        let token = args.alert_webhook_token_file.as_ref().map(read).transpose()?;
        let file = folder.join(FILE);
        let sent = std::fs::read_to_string(&file).ok().map(|text| text.trim().to_owned());
        let progress = Mutex::new(Progress { sent, refusals: 0 });
        Ok(Some(Arc::new(Self { url, client, token, file, progress })))
    }

    /// Sends what was not accepted yet. False if there is an alert before which another one may still come.
    async fn deliver(&self, domain: &Domain) -> Result<bool, WebhookError> {
        let (mut progress, trust_domain) = (self.progress.lock().await, &domain.identity.name);
        let mut after = match progress.sent.clone() {
            Some(after) => after,
            // What came before the webhook was configured is not sent. An id begins with `alr`.
            None => {
                let settled = domain.streams.alerts.settled_below(domain.log.time());
                let newest = domain.store.alerts(trust_domain, None, 1).await?.pop();
                let first = newest.map_or_else(|| "alr".to_owned(), |alert| alert.id).min(settled);
                write_atomic(&self.file, first.as_bytes())?;
                progress.sent.insert(first).clone()
            }
        };
        loop {
            // Before the store is read: what is settled now is in it.
            let settled = domain.streams.alerts.settled_below(domain.log.time());
            let alerts = domain.store.alerts(trust_domain, Some(&after), BATCH).await?;
            if alerts.is_empty() {
                return Ok(true);
            }
            for alert in alerts {
                if alert.id >= settled {
                    return Ok(false);
                }
                let id = alert.id.clone();
                let message = Message { trust_domain: trust_domain.as_str(), alert: alert_form(alert) };
                self.send(&message, &mut progress.refusals).await?;
                after.clone_from(&id);
                *progress = Progress { sent: Some(id), refusals: 0 };
                // After it was accepted: a crash in between sends it again.
                write_atomic(&self.file, after.as_bytes())?;
            }
        }
    }

    /// Sends an alert, or gives it up: the receiver has refused it often enough.
    async fn send(&self, message: &Message<'_>, refusals: &mut u32) -> Result<(), WebhookError> {
        let error = match self.post(message).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        *refusals += u32::from(error.is_about_content());
        if *refusals < MOST_REFUSALS {
            return Err(error);
        }
        let id = &message.alert.id;
        tracing::error!(%error, alert = id, "the receiver refused an alert {MOST_REFUSALS} times, and does not get it; \
            `sekisho alert list` shows it");
        Ok(())
    }

    async fn post(&self, message: &Message<'_>) -> Result<(), WebhookError> {
        let post = WebPost {
            name: "",
            content_type: "application/json",
            bearer: self.token.as_ref(),
            body: serde_json::to_string(message)?,
            reads_answer: false,
        };
        let answer = self.client.post(&self.url, post).await?;
        if answer.status.is_success() { Ok(()) } else { Err(WebhookError::Status(answer.status.as_u16())) }
    }
}

/// Sends each alert as it comes.
pub(crate) async fn run(webhook: Arc<AlertWebhook>, domain: Shared) {
    let mut pause = FIRST_PAUSE;
    loop {
        match webhook.deliver(&domain).await {
            Ok(true) => {
                pause = FIRST_PAUSE;
                domain.streams.alerts.changed().await;
            }
            Ok(false) => tokio::time::sleep(UNSETTLED).await,
            Err(error) => {
                let seconds = pause.as_secs();
                tracing::error!(%error, seconds, "the alert webhook did not accept an alert; it is sent again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex as StdMutex;

    use axum::http::{HeaderMap, StatusCode};
    use sekisho_store::{AlertRecord, AlertSeverity, Batch, Write};
    use sekisho_types::{SpiffeId, UnixTime};
    use serde_json::Value;

    use super::*;
    use crate::testbed::Testbed;

    type Heard = Arc<StdMutex<Vec<(Option<String>, Value)>>>;

    /// A receiver that refuses the first request of each alert.
    async fn receiver() -> (String, Heard) {
        let (heard, listener) = (Heard::default(), tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap());
        let url = format!("http://{}/hooks/sekisho", listener.local_addr().unwrap());
        let hears = heard.clone();
        let answer = move |headers: HeaderMap, body: String| {
            let bearer = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
            let alert: Value = serde_json::from_str(&body).unwrap();
            let mut all = hears.lock().unwrap();
            let again = all.iter().any(|(_, known)| known["id"] == alert["id"]);
            all.push((bearer, alert));
            std::future::ready(if again { StatusCode::NO_CONTENT } else { StatusCode::BAD_GATEWAY })
        };
        let router = axum::Router::new().route("/hooks/sekisho", axum::routing::post(answer));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (url, heard)
    }

    fn id(number: u32) -> String {
        format!("alr_{number:032x}")
    }

    async fn raise(bed: &Testbed, number: u32) {
        let alert = AlertRecord {
            id: id(number),
            at: UnixTime::from_seconds(1_800_000_000),
            severity: AlertSeverity::Critical,
            kind: "attestation denied".into(),
            agent: SpiffeId::parse("spiffe://example.org/spire/agent/a").unwrap(),
            reason: "PCR 4".into(),
            good_at: None,
            earlier: 0,
        };
        let write = Write::PutAlert { alert, keep: 10, keep_of_agent: 10 };
        bed.domain.store.commit(Batch::of(&bed.domain.identity.name, write)).await.unwrap();
        drop(bed.domain.streams.alerts.raise(|| bed.domain.log.time()));
    }

    #[tokio::test]
    async fn each_alert_is_sent_until_accepted() {
        let (bed, folder, (url, heard)) = (Testbed::new().await, tempfile::tempdir().unwrap(), receiver().await);
        let token = folder.path().join("token");
        std::fs::write(&token, "s3cret\n").unwrap();
        let args = WebhookArgs {
            alert_webhook: Some(url),
            alert_webhook_token_file: Some(token),
            alert_webhook_ca: "/nonexistent".into(),
        };
        let open = || AlertWebhook::open(&args, folder.path()).unwrap().unwrap();
        // Of before the webhook.
        raise(&bed, 1).await;
        let first = open();
        first.deliver(&bed.domain).await.unwrap();
        raise(&bed, 2).await;
        assert!(matches!(first.deliver(&bed.domain).await, Err(WebhookError::Status(502))));
        raise(&bed, 3).await;
        // A restart goes on with what was not accepted.
        let running = tokio::spawn(run(open(), bed.domain.clone()));
        let ids = || heard.lock().unwrap().iter().map(|(_, alert)| alert["id"].clone()).collect::<Vec<_>>();
        while ids().len() < 4 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(ids(), [id(2), id(2), id(3), id(3)]);
        let (bearer, alert) = heard.lock().unwrap().last().cloned().unwrap();
        assert_eq!(bearer.as_deref(), Some("Bearer s3cret"));
        assert_eq!((&alert["trust_domain"], &alert["reason"]), (&"example.org".into(), &"PCR 4".into()));
        running.abort();
        let _stopped = running.await;
        open().deliver(&bed.domain).await.unwrap();
        assert_eq!(ids().len(), 4);
    }

    #[tokio::test]
    async fn a_refused_alert_keeps_no_other_back() {
        let (bed, folder) = (Testbed::new().await, tempfile::tempdir().unwrap());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let heard = Arc::<StdMutex<Vec<String>>>::default();
        let hears = heard.clone();
        // It takes no alert 2, and answers the others with more than anyone reads.
        let answer = move |body: String| {
            let alert: Value = serde_json::from_str(&body).unwrap();
            let id = alert["id"].as_str().unwrap().to_owned();
            let status = if id.ends_with('2') { StatusCode::BAD_REQUEST } else { StatusCode::OK };
            hears.lock().unwrap().push(id);
            std::future::ready((status, "x".repeat(1024 * 1024)))
        };
        let router = axum::Router::new().route("/", axum::routing::post(answer));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let args = WebhookArgs {
            alert_webhook: Some(url),
            alert_webhook_token_file: None,
            alert_webhook_ca: "/nonexistent".into(),
        };
        let webhook = AlertWebhook::open(&args, folder.path()).unwrap().unwrap();
        assert!(webhook.deliver(&bed.domain).await.unwrap());
        raise(&bed, 2).await;
        raise(&bed, 3).await;
        for _ in 1..MOST_REFUSALS {
            assert!(matches!(webhook.deliver(&bed.domain).await, Err(WebhookError::Status(400))));
        }
        assert!(webhook.deliver(&bed.domain).await.unwrap());
        let heard = heard.lock().unwrap();
        assert_eq!((heard.len(), heard.last()), (6, Some(&id(3))));
    }

    #[test]
    fn a_webhook_that_cannot_work_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let args = |url: &str, token: Option<&str>| WebhookArgs {
            alert_webhook: Some(url.into()),
            alert_webhook_token_file: token.map(|name| folder.path().join(name)),
            alert_webhook_ca: "/nonexistent".into(),
        };
        std::fs::write(folder.path().join("empty"), "\n").unwrap();
        let refused = |args| AlertWebhook::open(&args, folder.path()).err().unwrap();
        assert!(refused(args("http://alerts.example/", None)).contains("use https"));
        assert!(refused(args("https://alerts.example/", Some("none"))).contains("none"));
        assert!(refused(args("https://alerts.example/", Some("empty"))).contains("no token"));
    }
}
