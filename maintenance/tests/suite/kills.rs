//! Killed before and after each write of a compaction, one after the other, and each write refused, or done without an answer:
//! whatever the phase, nothing is lost or doubled, and in the end there is what an undisturbed compaction ends with.
use crate::support::{Event, Keeper, Lake, Told, all, append, event, rewrites};
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use lake::table::Table;
use maintenance::Step;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

/// What happens at one of the writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The process dies.
    Before(usize),
    /// The process dies when it is done.
    After(usize),
    /// It is not done, and the answer is an error.
    Refused(usize),
    /// It is done, and the answer is an error.
    Unanswered(usize),
}

/// A store with a fault at one of its writes.
#[derive(Debug)]
struct Faulty {
    inner: Arc<dyn ObjectStore>,
    fault: Fault,
    writes: Mutex<Vec<String>>,
    died: Notify,
}

fn trouble() -> object_store::Error {
    object_store::Error::Generic { store: "Faulty", source: Box::new(std::io::Error::other("connection reset")) }
}

impl Faulty {
    fn over(lake: &Lake, fault: Fault) -> Arc<Faulty> {
        let inner: Arc<dyn ObjectStore> = lake.store.clone();
        Arc::new(Faulty { inner, fault, writes: Mutex::default(), died: Notify::new() })
    }

    async fn die_if(&self, now: Fault) {
        if self.fault == now {
            self.died.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

impl std::fmt::Display for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Faulty({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let at = {
            let mut writes = self.writes.lock().unwrap();
            writes.push(location.to_string());
            writes.len()
        };
        self.die_if(Fault::Before(at)).await;
        if self.fault == Fault::Refused(at) {
            return Err(trouble());
        }
        let put = self.inner.put_opts(location, payload, options).await;
        self.die_if(Fault::After(at)).await;
        if self.fault == Fault::Unanswered(at) { Err(trouble()) } else { put }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// Three dates, each with a copy of the first one's events.
async fn filled(lake: &Lake) -> Table {
    let mut table = lake.table().await;
    append(&mut table, &[event(0, 1, 1, 0), event(0, 2, 2, 0), event(1, 1, 3, 1)]).await;
    append(&mut table, &[event(0, 3, 1, 1), event(0, 4, 4, 1), event(1, 2, 5, 2)]).await;
    append(&mut table, &[event(0, 5, 2, 0), event(0, 6, 3, 2), event(1, 3, 5, 2)]).await;
    table
}

fn winners() -> Vec<Event> {
    let mut stay = vec![event(0, 1, 1, 0), event(0, 2, 2, 0), event(0, 4, 4, 1), event(0, 6, 3, 2), event(1, 2, 5, 2)];
    stay.sort();
    stay
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_before_or_after_any_write_loses_and_doubles_nothing() {
    let mut phases = BTreeSet::new();
    for at in 1.. {
        let mut ended = 0;
        for death in [Fault::Before(at), Fault::After(at)] {
            let (lake, told) = (Lake::new(), Told::default());
            let appended: BTreeSet<Event> = all(&filled(&lake).await).await.into_iter().collect();
            let store = Faulty::over(&lake, death);
            let life = async { Keeper::on(lake.table_on(store.clone()).await, &told).compact().await };
            let killed = tokio::select! {
                () = store.died.notified() => true,
                _ = life => false,
            };
            let held = all(&lake.table().await).await;
            let distinct: BTreeSet<Event> = held.iter().cloned().collect();
            assert_eq!(distinct.len(), held.len(), "{death:?}: a row is doubled");
            assert!(distinct.is_subset(&appended), "{death:?}: a row from nowhere");
            assert!(winners().iter().all(|event| distinct.contains(event)), "{death:?}: a row is lost");
            let mut next = Keeper::new(&lake, &told).await;
            next.compact().await;
            assert_eq!(all(&next.table).await, winners(), "{death:?}");
            let marks = told.marks.lock().unwrap().clone();
            assert!(
                appended
                    .iter()
                    .filter(|event| !winners().contains(event))
                    .all(|event| marks.contains_key(&event.time_us))
            );
            let reached = rewrites(&next.table).await;
            assert!(
                marks.values().all(|awaits| *awaits <= reached),
                "{death:?}: a mark awaits what nobody will commit"
            );
            assert_eq!(next.step().await, Step::Nothing);
            ended += usize::from(!killed);
            let last = store.writes.lock().unwrap().last().cloned().unwrap_or_default();
            phases.insert(format!(
                "{death:?} {}",
                last.rsplit('/').next().unwrap_or_default().split('-').next().unwrap_or_default()
            ));
        }
        if ended == 2 {
            println!("{phases:#?}");
            assert!(at > 8, "a lease, and a file and a commit for each date: {at}");
            return;
        }
    }
}

/// As upkeep does it: what fails is tried again.
async fn compacts_in_the_end(keeper: &mut Keeper) {
    for _ in 0..20 {
        let Ok(Some(fence)) = keeper.upkeep.fence(&mut keeper.table, 0).await else { continue };
        if keeper.compaction.step(&mut keeper.table, &fence, 0).await.is_ok_and(|step| step == Step::Nothing) {
            return;
        }
    }
    panic!("it does not come to an end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_is_refused_or_not_answered_loses_and_doubles_nothing() {
    for at in 1.. {
        let mut undisturbed = 0;
        for fault in [Fault::Refused(at), Fault::Unanswered(at)] {
            let (lake, told) = (Lake::new(), Told::default());
            filled(&lake).await;
            let store = Faulty::over(&lake, fault);
            // What an opening writes (its probe of the store) is not this test's.
            let Ok(table) = lake.try_table_on(store.clone()).await else { continue };
            compacts_in_the_end(&mut Keeper::on(table, &told)).await;
            assert_eq!(all(&lake.table().await).await, winners(), "{fault:?}");
            undisturbed += usize::from(store.writes.lock().unwrap().len() < at);
        }
        if undisturbed == 2 {
            assert!(at > 8, "{at}");
            return;
        }
    }
}
