//! Whether the node is ready, and if not, which role says why.
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Gauge: 1 while the role is ready, else 0.
const READY: &str = "playhead_ready";
/// Under this name the node itself says that it stops.
const NODE: &str = "node";

/// What each role said last. Ready: every one of them is.
pub struct Readiness {
    roles: Mutex<BTreeMap<&'static str, Result<(), String>>>,
    ready: watch::Sender<bool>,
    was_ready: AtomicBool,
}

impl Readiness {
    /// Nothing is ready at first.
    pub fn new(roles: impl IntoIterator<Item = &'static str>) -> Self {
        metrics::describe_gauge!(READY, "1 while this part of the process is ready, as /readyz says");
        let roles = roles.into_iter().map(|role| {
            metrics::gauge!(READY, "role" => role).set(0.0);
            (role, Err(sink::STARTING.to_owned()))
        });
        let roles = roles.collect();
        Readiness { roles: Mutex::new(roles), ready: watch::Sender::new(false), was_ready: AtomicBool::new(false) }
    }

    /// What a role is given to say how it is.
    pub fn reporter(self: &Arc<Self>, role: &'static str) -> Arc<dyn Fn(Result<(), String>) + Send + Sync> {
        let readiness = Arc::clone(self);
        Arc::new(move |state| readiness.set(role, state))
    }

    /// What says how every role is, while none of them has begun.
    pub fn reporter_of_all(self: &Arc<Self>) -> impl Fn(&str) + Send + Sync + use<> {
        let readiness = Arc::clone(self);
        let roles: Vec<&str> = self.unready().into_keys().collect();
        move |reason| roles.iter().for_each(|role| readiness.set(role, Err(reason.to_owned())))
    }

    fn set(&self, role: &'static str, state: Result<(), String>) {
        let mut roles = self.roles.lock().unwrap_or_else(PoisonError::into_inner);
        match (roles.get(role), &state) {
            (before, now) if before == Some(now) => {}
            (_, Ok(())) => tracing::info!(role, "ready"),
            (Some(Ok(())), Err(reason)) if !roles.contains_key(NODE) => tracing::warn!(role, reason, "no longer ready"),
            (_, Err(reason)) => tracing::info!(role, reason, "not ready yet"),
        }
        metrics::gauge!(READY, "role" => role).set(f64::from(u8::from(state.is_ok())));
        roles.insert(role, state);
        let ready = roles.values().all(Result::is_ok);
        self.was_ready.fetch_or(ready, Ordering::Relaxed);
        self.ready.send_replace(ready);
    }

    /// From now on not ready: load balancers should look elsewhere.
    pub fn stopping(&self) {
        self.set(NODE, Err("stopping".into()));
    }

    /// Whether every role was ready at some time.
    pub fn was_ready(&self) -> bool {
        self.was_ready.load(Ordering::Relaxed)
    }

    /// The roles that aren't ready, with their reasons.
    pub fn unready(&self) -> BTreeMap<&'static str, String> {
        let roles = self.roles.lock().unwrap_or_else(PoisonError::into_inner);
        roles.iter().filter_map(|(role, state)| Some((*role, state.as_ref().err()?.clone()))).collect()
    }

    /// Returns when everything is ready.
    pub async fn wait(&self) {
        // The sender lives in self, so this can't fail.
        let _ = self.ready.subscribe().wait_for(|ready| *ready).await;
    }
}
