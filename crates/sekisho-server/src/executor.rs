//! Every call passes here: the role table admits its caller, its command runs, and what is refused is on record before
//! the caller hears of it (laws L3 and L5). Adapters convert requests into commands and replies into messages; they
//! decide nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::Extensions;
use futures_util::future::join_all;
use sekisho_net::TlsPeer;

use crate::caller::{AgentCaller, Caller, LogReader, Operator, ThisServer};
use crate::command::Command;
use crate::commands::RetirePrevious;
use crate::denied::Denied;
use crate::domain::Shared;
use crate::query::Query;
use crate::refusal::{self, Fault, Refusal, RefusedParty};
use crate::roles::Role;
use crate::run::Run;

/// Where a call comes from.
pub(crate) struct Connection {
    domain: Shared,
    peer: Option<Arc<TlsPeer>>,
    /// Whom the local socket admitted.
    local: Option<Operator>,
    /// Whether something that the call was refused is on record.
    has_record: AtomicBool,
}

impl Connection {
    pub(crate) fn of(domain: &Shared, extensions: &Extensions) -> Arc<Self> {
        let (peer, local) = (extensions.get::<Arc<TlsPeer>>().cloned(), extensions.get::<Operator>().cloned());
        Arc::new(Self { domain: domain.clone(), peer, local, has_record: AtomicBool::new(false) })
    }

    pub(crate) fn has_record(&self) -> bool {
        self.has_record.load(Ordering::Relaxed)
    }

    /// Puts a fault on record, if it is the caller's.
    pub(crate) async fn refuse<E: Fault>(&self, fault: E) -> Refusal<E> {
        self.refuse_to(self.peer.as_ref().map_or(RefusedParty::Local, RefusedParty::Peer), fault).await
    }

    async fn refuse_to<E: Fault>(&self, whom: RefusedParty<'_>, fault: E) -> Refusal<E> {
        self.has_record.store(true, Ordering::Relaxed);
        refusal::record(&self.domain, whom, fault).await
    }
}

/// A call whose caller the role table has admitted.
#[derive(Clone)]
pub(crate) struct Call<C> {
    connection: Arc<Connection>,
    pub caller: C,
}

impl<C: Caller> Call<C> {
    pub(crate) fn peer(&self) -> Option<&Arc<TlsPeer>> {
        self.connection.peer.as_ref()
    }

    pub(crate) fn domain(&self) -> &Shared {
        &self.connection.domain
    }

    /// Answers a query.
    pub(crate) async fn ask<Q: Query<Caller = C>>(&self, query: Q) -> Q::Reply {
        query.answer(&self.connection.domain, &self.caller).await
    }

    /// Runs a command.
    pub(crate) async fn execute<K: Command<Caller = C>>(&self, command: K) -> Result<K::Reply, Refusal<K::Error>> {
        match command.run(&Run { domain: &self.connection.domain, caller: &self.caller }).await {
            Ok(reply) => Ok(reply),
            Err(fault) => Err(self.refuse(fault).await),
        }
    }

    /// Runs a command that consists of several, each with an outcome of its own.
    pub(crate) async fn execute_all<K, T>(
        &self,
        command: K,
    ) -> Result<Vec<Result<T, Refusal<K::Error>>>, Refusal<K::Error>>
    where
        K: Command<Caller = C, Reply = Vec<Result<T, <K as Command>::Error>>>,
    {
        let outcomes = self.execute(command).await?.into_iter().map(|outcome| async move {
            match outcome {
                Ok(reply) => Ok(reply),
                Err(fault) => Err(self.refuse(fault).await),
            }
        });
        // At once, so that their leaves share one wait for the disk.
        Ok(join_all(outcomes).await)
    }

    /// Puts a fault on record, if it is the caller's.
    pub(crate) async fn refuse<E: Fault>(&self, fault: E) -> Refusal<E> {
        match self.caller.agent() {
            Some(agent) => self.connection.refuse_to(RefusedParty::Agent(agent), fault).await,
            None => self.connection.refuse(fault).await,
        }
    }
}

/// A call, by whom the role table admits to it.
pub(crate) enum Admitted {
    Anyone(Call<()>),
    Agent(Call<AgentCaller>),
    LogReader(Call<LogReader>),
    Operator(Call<Operator>),
}

impl Admitted {
    pub(crate) const fn is_operator(&self) -> bool {
        matches!(self, Self::Operator(_) | Self::LogReader(Call { caller: LogReader { is_operator: true }, .. }))
    }

    pub(crate) const fn is_agent(&self) -> bool {
        matches!(self, Self::Agent(_))
    }

    /// Hands the call to the adapter.
    pub(crate) fn into_extension(self, extensions: &mut Extensions) {
        match self {
            Self::Anyone(call) => extensions.insert(call).map(drop),
            Self::Agent(call) => extensions.insert(call).map(drop),
            Self::LogReader(call) => extensions.insert(call).map(drop),
            Self::Operator(call) => extensions.insert(call).map(drop),
        };
    }
}

/// Admits a caller by a row of the role table, or refuses it.
pub(crate) async fn admit(connection: &Arc<Connection>, role: Role) -> Result<Admitted, Refusal<Denied>> {
    let admitted = match role {
        Role::Anyone => Ok(Admitted::Anyone(call(connection, ()))),
        Role::LogReader if connection.domain.settings.publish_log => {
            Ok(Admitted::LogReader(call(connection, LogReader { is_operator: false })))
        }
        Role::LogReader => {
            operator(connection).map(|_| Admitted::LogReader(call(connection, LogReader { is_operator: true })))
        }
        Role::Operator => operator(connection).map(|operator| Admitted::Operator(call(connection, operator))),
        Role::Agent => agent(connection).await.map(|agent| Admitted::Agent(call(connection, agent))),
    };
    match admitted {
        Ok(admitted) => Ok(admitted),
        Err(denied) => Err(connection.refuse(denied).await),
    }
}

fn operator(connection: &Connection) -> Result<Operator, Denied> {
    let (local, peer) = (connection.local.as_ref(), connection.peer.as_ref());
    Operator::of(&connection.domain.view, local, peer).ok_or(Denied::NoOperator)
}

fn call<C>(connection: &Arc<Connection>, caller: C) -> Call<C> {
    Call { connection: connection.clone(), caller }
}

async fn agent(connection: &Connection) -> Result<AgentCaller, Denied> {
    let agent = AgentCaller::known(&connection.domain.view, connection.peer.as_ref())?;
    // The first use of a successor ends what came before it, in whatever hands that still is.
    if agent.node.previous_serial.is_some() && agent.node.serial == agent.serial {
        RetirePrevious.run(&Run { domain: &connection.domain, caller: &agent }).await?;
    }
    Ok(agent)
}

/// Runs a command of the server's own: what it is refused is on record as anyone's is.
pub(crate) async fn execute_own<K: Command<Caller = ThisServer>>(
    domain: &Shared,
    command: K,
) -> Result<K::Reply, Refusal<K::Error>> {
    match command.run(&Run { domain, caller: &ThisServer }).await {
        Ok(reply) => Ok(reply),
        Err(fault) => Err(refusal::record(domain, RefusedParty::Own, fault).await),
    }
}
