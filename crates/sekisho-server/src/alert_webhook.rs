//! Alerts on their way to a web server that the operator names: one by one, in order, each until it is accepted. A
//! receiver may get one twice, and knows it by its id.

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
    /// The last alert that was accepted; `None` before the first look.
    sent: Mutex<Option<String>>,
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
        Ok(Some(Arc::new(Self { url, client, token, file, sent: Mutex::new(sent) })))
    }

    /// Sends what was not accepted yet.
    async fn deliver(&self, domain: &Domain) -> Result<(), WebhookError> {
        let (mut sent, trust_domain) = (self.sent.lock().await, &domain.identity.name);
        let mut after = match sent.clone() {
            Some(after) => after,
            // What came before the webhook was configured is not sent. An id begins with `alr`.
            None => {
                let newest = domain.store.alerts(trust_domain, None, 1).await?.pop();
                let first = newest.map_or_else(|| "alr".to_owned(), |alert| alert.id);
                write_atomic(&self.file, first.as_bytes())?;
                sent.insert(first).clone()
            }
        };
        loop {
            let alerts = domain.store.alerts(trust_domain, Some(&after), BATCH).await?;
            if alerts.is_empty() {
                return Ok(());
            }
            for alert in alerts {
                let id = alert.id.clone();
                self.post(&Message { trust_domain: trust_domain.as_str(), alert: alert_form(alert) }).await?;
                after.clone_from(&id);
                *sent = Some(id);
                // After it was accepted: a crash in between sends it again.
                write_atomic(&self.file, after.as_bytes())?;
            }
        }
    }

    async fn post(&self, message: &Message<'_>) -> Result<(), WebhookError> {
        let post = WebPost {
            name: "",
            content_type: "application/json",
            bearer: self.token.as_ref(),
            body: serde_json::to_string(message)?,
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
            Ok(()) => {
                pause = FIRST_PAUSE;
                domain.streams.new_alert.notified().await;
            }
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

    async fn raise(bed: &Testbed, number: u32) {
        let alert = AlertRecord {
            id: format!("alr_{number}"),
            at: UnixTime::from_seconds(1_800_000_000),
            severity: AlertSeverity::Critical,
            kind: "attestation denied".into(),
            agent: SpiffeId::parse("spiffe://example.org/spire/agent/a").unwrap(),
            reason: "PCR 4".into(),
            good_at: None,
        };
        let write = Write::PutAlert { alert, keep: 10 };
        bed.domain.store.commit(Batch::of(&bed.domain.identity.name, write)).await.unwrap();
        bed.domain.streams.new_alert.notify_one();
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
        assert_eq!(ids(), ["alr_2", "alr_2", "alr_3", "alr_3"]);
        let (bearer, alert) = heard.lock().unwrap().last().cloned().unwrap();
        assert_eq!(bearer.as_deref(), Some("Bearer s3cret"));
        assert_eq!((&alert["trust_domain"], &alert["reason"]), (&"example.org".into(), &"PCR 4".into()));
        running.abort();
        let _stopped = running.await;
        open().deliver(&bed.domain).await.unwrap();
        assert_eq!(ids().len(), 4);
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
