//! A recording that was opened: what is in it, without its pages.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use crate::Position;
use crate::format::block::{self, Kind};
use crate::format::index::{self, BlockPlace, PageSpan};
use crate::format::lists::ListsRecord;
use crate::format::log::{self, Event, EventKind};
use crate::format::preamble::Progress;
use crate::format::records::{
    ChangesRecord, CheckpointKind, CheckpointRecord, EndReason, EndRecord, PagesRecord, RecordingHeader,
};
use crate::format::{FEATURES, FormatError};
use crate::page_map::{PageMap, PageRef};
use crate::reader::{ReadError, Reader};
use crate::sink::Source;
use crate::store::{Store, StoreBase, StoreError, address};

/// A recording cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is not there, or not to be read.
    #[error("cannot open the recording {path}: {source}")]
    Open {
        /// Which.
        path: String,
        /// The host's answer.
        source: std::io::Error,
    },
    /// Of a file, what is wrong with it.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: String,
        /// What is wrong.
        error: Box<OpenError>,
    },
    /// What is in it.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The tree that it is in.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its beginning is missing.
    #[error("the recording ends before its initial state is whole, so there is nothing to replay{}", because(.0))]
    NoStart(Option<FormatError>),
}

fn because(fault: &Option<FormatError>) -> String {
    fault.as_ref().map_or(String::new(), |fault| format!(": {fault}"))
}

impl From<FormatError> for OpenError {
    fn from(error: FormatError) -> Self {
        OpenError::Read(error.into())
    }
}

/// A checkpoint of the file.
#[derive(Clone, Copy, Debug)]
pub struct CheckpointInfo {
    /// Where.
    pub position: Position,
    /// Why.
    pub kind: CheckpointKind,
    /// Events before it.
    pub events_before: usize,
    /// The digest there.
    pub digest: [u8; 32],
    /// Where the machine's own counts begin.
    pub base: Position,
    pub(crate) place: BlockPlace,
}

/// A block of pages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PagesInfo {
    pub span: PageSpan,
    pub place: BlockPlace,
}

/// Bytes of the file by what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// All.
    pub file: u64,
    /// Initial state and checkpoints with their pages.
    pub checkpoints: u64,
    /// The rest: inputs, header, index.
    pub log: u64,
}

/// How a recorded run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Why.
    pub reason: EndReason,
    /// The guest's exit status, with [`EndReason::DebugExit`].
    pub status: u8,
    /// [`machine::Machine::digest`] there.
    pub digest: [u8; 32],
}

/// An open recording.
pub struct Recording {
    pub(crate) reader: Reader,
    header: RecordingHeader,
    events: Vec<Event>,
    checkpoints: Vec<CheckpointInfo>,
    pub(crate) pages: Vec<PagesInfo>,
    /// Where lists of changes stand together, by the number of the first checkpoint that they are for.
    lists: BTreeMap<usize, BlockPlace>,
    end: Option<End>,
    end_position: Position,
    fault: Option<FormatError>,
    sizes: Sizes,
    base: Option<Arc<StoreBase>>,
}

/// What is gathered while the blocks are gone through.
#[derive(Default)]
struct Contents {
    header: Option<RecordingHeader>,
    events: Vec<Event>,
    checkpoints: Vec<CheckpointInfo>,
    pages: Vec<PagesInfo>,
    lists: BTreeMap<usize, BlockPlace>,
    end: Option<EndRecord>,
}

impl Recording {
    /// Opens a file, or a node of a tree that is named `DIR:NODE`.
    ///
    /// A recording that was made in a tree begins with a state of it, which is found beside the file.
    ///
    /// # Errors
    /// If it cannot be read, is none or of a newer version, or does not hold a whole initial state.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let path = &address::recording_of(path)?;
        let recording = Self::open_alone(path)?;
        let state = recording.header.snapshot.clone();
        match address::tree_around(path) {
            Some(directory) if !state.is_empty() => {
                let base = StoreBase::new(Store::open(&directory)?, &state)?;
                Ok(recording.with_base(Arc::new(base)))
            }
            // Events and sizes can be told without it.
            _ => Ok(recording),
        }
    }

    /// Opens a file without the state that it begins with, if that is elsewhere: to be looked at, not to be replayed.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_alone(path: &Path) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Open { path: path.display().to_string(), source };
        let file = File::open(path).map_err(failed)?;
        let wrong = |error| OpenError::File { path: path.display().to_string(), error: Box::new(error) };
        Self::from_source(Box::new(file)).map_err(wrong)
    }

    /// With the state that it begins with.
    #[must_use]
    pub fn with_base(self, base: Arc<StoreBase>) -> Self {
        Recording { base: Some(base), ..self }
    }

    /// The state that it begins with, if that is not in the file.
    pub(crate) fn base(&self) -> Option<&StoreBase> {
        self.base.as_deref()
    }

    /// RAM before the initial checkpoint: that of the state that it begins with, or zeros.
    ///
    /// # Errors
    /// If a state is needed and not there.
    pub(crate) fn base_map(&self, pages: u64) -> Result<PageMap, ReadError> {
        let mut map = PageMap::zero(pages);
        if self.header.snapshot.is_empty() {
            return Ok(map);
        }
        let base = self.base().ok_or_else(|| self.needs_base())?;
        for (page, _) in base.pages() {
            if !map.set(*page, PageRef::Base(*page)) {
                return Err(FormatError::Content("the state that it begins with is of another machine").into());
            }
        }
        Ok(map)
    }

    /// Says where the state is that this needs.
    fn needs_base(&self) -> FormatError {
        FormatError::NeedsState { state: self.header.snapshot.clone(), tree: self.header.tree.clone() }
    }

    /// Opens a recording that is somewhere else.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn from_source(source: Box<dyn Source>) -> Result<Self, OpenError> {
        let reader = Reader::new(source)?;
        let progress = reader.preamble()?;
        if let Some(contents) = from_index(&reader)
            && contents.end.is_some()
        {
            return Self::finish(reader, contents, None, [None; 2], true);
        }
        let walk = reader.walk()?;
        let mut contents = Contents::default();
        let (mut fault, mut good_end) = (walk.fault, walk.end);
        for place in &walk.blocks {
            if let Err(error) = contents.take(&reader, place, None) {
                let ReadError::Format(error) = error else { return Err(error.into()) };
                if matches!(error, FormatError::Feature(_)) {
                    return Err(error.into());
                }
                (fault, good_end) = (Some(error), place.offset);
                break;
            }
        }
        let progress = progress.map(|slot| slot.filter(|slot| slot.file_bytes <= good_end));
        Self::finish(reader, contents, fault, progress, false)
    }

    fn finish(
        reader: Reader,
        contents: Contents,
        fault: Option<FormatError>,
        progress: [Option<Progress>; 2],
        indexed: bool,
    ) -> Result<Self, OpenError> {
        let Contents { header, events, checkpoints, pages, lists, end } = contents;
        let (Some(header), Some(_)) = (header, checkpoints.first()) else { return Err(OpenError::NoStart(fault)) };
        let known = |record: &EndRecord| -> Option<(Position, End)> {
            let digest = record.digest.as_slice().try_into().ok()?;
            let status = u8::try_from(record.status).ok()?;
            Some((record.position?.into(), End { reason: record.reason(), status, digest }))
        };
        let end = end.as_ref().and_then(known);
        let last_event = events.last().map(|event| event.position);
        let last_checkpoint = checkpoints.last().map(|checkpoint| checkpoint.position);
        let progress = progress.into_iter().flatten().map(|slot| slot.position);
        let reached = last_event.into_iter().chain(last_checkpoint).chain(progress).max().unwrap_or_default();
        let end_position = end.map_or(reached, |(position, _)| position);
        if end_position < reached && indexed {
            return Err(FormatError::Content("the recording ends before something in it").into());
        }
        let checkpoint_bytes = checkpoints
            .iter()
            .map(|c| c.place.len)
            .chain(pages.iter().map(|p| p.place.len))
            .chain(lists.values().map(|place| place.len))
            .fold(0, u64::saturating_add);
        let file = reader.len_bytes();
        let sizes = Sizes { file, checkpoints: checkpoint_bytes, log: file.saturating_sub(checkpoint_bytes) };
        let end = end.map(|(_, end)| end);
        let base = None;
        Ok(Recording { reader, header, events, checkpoints, pages, lists, end, end_position, fault, sizes, base })
    }

    /// The header.
    pub fn header(&self) -> &RecordingHeader {
        &self.header
    }

    /// The machine that the recording begins with.
    ///
    /// # Errors
    /// If there is no such machine.
    pub fn config(&self) -> Result<machine::MachineConfig, FormatError> {
        self.header.config.as_ref().ok_or(FormatError::Content("the machine's configuration is missing"))?.to_config()
    }

    /// All events in order.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// All checkpoints in order; the first is the initial state.
    pub fn checkpoints(&self) -> &[CheckpointInfo] {
        &self.checkpoints
    }

    /// Named instants in order.
    pub fn marks(&self) -> impl Iterator<Item = (&str, Position)> {
        self.events.iter().filter_map(|event| match &event.kind {
            EventKind::Mark(name) => Some((name.as_str(), event.position)),
            EventKind::Input(_) => None,
        })
    }

    /// Where it begins.
    pub fn start(&self) -> Position {
        self.checkpoints[0].position
    }

    /// Up to where it can be replayed.
    pub fn end_position(&self) -> Position {
        self.end_position
    }

    /// How it ended; `None` if it was cut short.
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Whether its end is missing: the recorder was killed, or the file damaged.
    pub fn is_cut_short(&self) -> bool {
        self.end.is_none()
    }

    /// What is wrong with the bytes behind the last good block.
    pub fn fault(&self) -> Option<&FormatError> {
        self.fault.as_ref()
    }

    /// The same, unless it is only that the last block was not written to its end, as by a recorder that was killed.
    pub fn damage(&self) -> Option<&FormatError> {
        self.fault().filter(|fault| !matches!(fault, FormatError::Block { what: block::CUT_OFF, .. }))
    }

    /// Bytes.
    pub fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// The whole checkpoint.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn checkpoint(&self, info: &CheckpointInfo) -> Result<CheckpointRecord, ReadError> {
        self.reader.message(&info.place)
    }

    /// The block of pages that the content with this number is in, if it is in the file.
    pub(crate) fn block_of(&self, number: u64) -> Option<usize> {
        let at = self.pages.partition_point(|info| info.span.last < number);
        self.pages.get(at).filter(|info| info.span.first <= number).map(|_| at)
    }

    /// The lists of changes that stand together for checkpoint number `index` and others, and the number of the first of these.
    /// `None` if there are none, or they are damaged: then [`Self::changes`] has them.
    pub(crate) fn lists(&self, index: usize) -> Option<(usize, ListsRecord)> {
        let (&first, place) = self.lists.range(..=index).next_back()?;
        let record: ListsRecord = self.reader.message(place).ok()?;
        (index - first < record.lists.len()).then_some((first, record))
    }

    /// The pages that changed up to a checkpoint since the one before.
    pub(crate) fn changes(&self, info: &CheckpointInfo) -> Result<ChangesRecord, ReadError> {
        self.reader.message(&info.place)
    }
}

/// Goes through the blocks that the index names; `None` if anything is wrong.
fn from_index(reader: &Reader) -> Option<Contents> {
    let (index, blocks) = reader.index()?;
    let mut contents = Contents::default();
    let mut spans = index::decode_spans(&index).ok()?.into_iter();
    let mut checkpoints = index.checkpoints.iter();
    let mut lists = index.lists.iter();
    for place in &blocks {
        let known = match place.kind {
            Some(Kind::Pages) => Known::Pages(spans.next()?),
            Some(Kind::Checkpoint) => Known::Checkpoint(checkpoints.next()?),
            Some(Kind::Lists) => Known::Lists(usize::try_from(*lists.next()?).ok()?),
            _ => {
                contents.take(reader, place, None).ok()?;
                continue;
            }
        };
        contents.take(reader, place, Some(known)).ok()?;
    }
    Some(contents)
}

/// What the index says of a block that need not be read then.
enum Known<'a> {
    Pages(PageSpan),
    Checkpoint(&'a CheckpointRecord),
    Lists(usize),
}

impl Contents {
    fn take(&mut self, reader: &Reader, place: &BlockPlace, known: Option<Known<'_>>) -> Result<(), ReadError> {
        let bad = FormatError::Content;
        let Some(kind) = place.kind else { return Ok(()) };
        if (kind == Kind::Header) != self.header.is_none() {
            return Err(bad("its header is not where it should be").into());
        }
        match kind {
            Kind::Header => {
                let header: RecordingHeader = reader.message(place)?;
                if let Some(unknown) = header.features.iter().find(|name| !FEATURES.contains(&name.as_str())) {
                    return Err(FormatError::Feature(unknown.clone()).into());
                }
                self.header = Some(header);
            }
            Kind::Pages => self.take_pages(reader, place, known)?,
            Kind::Checkpoint => match known {
                Some(Known::Checkpoint(record)) => self.take_checkpoint(record, place)?,
                _ => self.take_checkpoint(&reader.message(place)?, place)?,
            },
            Kind::Log => log::decode(reader.message(place)?, &mut self.events)?,
            Kind::End => {
                let end: EndRecord = reader.message(place)?;
                if end.events != self.events.len() as u64 {
                    return Err(bad("events are missing at the end of the log").into());
                }
                self.end = Some(end);
            }
            Kind::Index => {}
            // Without an index nobody knows for which checkpoints they are.
            Kind::Lists => {
                if let Some(Known::Lists(first)) = known {
                    self.lists.insert(first, *place);
                }
            }
        }
        Ok(())
    }

    fn take_pages(&mut self, reader: &Reader, place: &BlockPlace, known: Option<Known<'_>>) -> Result<(), ReadError> {
        let span = match known {
            Some(Known::Pages(span)) => span,
            _ => {
                let numbers = reader.message::<PagesRecord>(place)?.numbers()?;
                let (first, last) = (numbers.first().copied(), numbers.last().copied());
                PageSpan { first: first.unwrap_or(0), last: last.unwrap_or(0) }
            }
        };
        if span.first <= self.pages.last().map_or(0, |info| info.span.last) {
            return Err(FormatError::Content("pages come twice").into());
        }
        self.pages.push(PagesInfo { span, place: *place });
        Ok(())
    }

    fn take_checkpoint(&mut self, record: &CheckpointRecord, place: &BlockPlace) -> Result<(), FormatError> {
        let bad = FormatError::Content;
        let info = CheckpointInfo {
            position: record.position(),
            kind: CheckpointKind::try_from(record.kind).map_err(|_| bad("a checkpoint is of an unknown kind"))?,
            events_before: usize::try_from(record.events_before).map_err(|_| bad("a checkpoint is misplaced"))?,
            digest: record.digest.as_slice().try_into().map_err(|_| bad("a digest has another length"))?,
            base: record.base.unwrap_or_default().into(),
            place: *place,
        };
        // Events that come after it may stand before it in the file.
        let (Some(before), Some(after)) =
            (self.events.get(..info.events_before), self.events.get(info.events_before..))
        else {
            return Err(bad("a checkpoint is misplaced"));
        };
        let event_before = before.last().map_or(Position::default(), |event| event.position);
        let last = self.checkpoints.last().map_or(event_before, |checkpoint| checkpoint.position.max(event_before));
        let is_first = self.checkpoints.is_empty();
        let is_late = after.first().is_some_and(|event| event.position < info.position);
        let is_behind = self.checkpoints.last().is_some_and(|last| last.events_before > info.events_before);
        if is_late || is_behind || info.position < last || info.position < info.base {
            return Err(bad("a checkpoint is misplaced"));
        }
        if is_first != (info.kind == CheckpointKind::Initial) {
            return Err(bad("the initial state is not where it should be"));
        }
        self.checkpoints.push(info);
        Ok(())
    }
}
