//! Everything around the core in the real world: the upstream stream, the clients' sockets, the
//! questions of the same process.
//!
//! One task owns them all, so a message goes from one socket to the other without being handed
//! from task to task. What cannot be written yet stays in [`Output`], and while much of it waits,
//! nothing more is read from where it comes: memory stays flat however much is copied.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::io::poll_read_buf;

use super::listener::{Arrival, Newcomer, turn_away};
use super::lookout;
use super::recorder::{Beside, Recorder};
use crate::postgres::connect::Stream;
use crate::rehearsal::transaction::{
    Answer, ClientId, Event, Examination, Examined, HIGH_WATER, NotExamined, Output, Place,
    Question, Surroundings, Welcome,
};
use crate::rehearsal::wire::FrameDecoder;

/// The greatest read at once.
const CHUNK: usize = 64 * 1024;

/// A server writes when its buffer of this size is full, or when it waits for us.
const POURING: usize = 8 * 1024;

/// What the same process wants of the core.
#[derive(Debug)]
pub(super) enum Request {
    /// A question inside the transaction.
    Ask(String, oneshot::Sender<Answer>),
    /// A question of the user's, which may only read.
    Examine(Examination, oneshot::Sender<Result<Examined, NotExamined>>),
    /// Rows of the user's, to be put in.
    Insert(String, oneshot::Sender<Result<Examined, NotExamined>>),
    /// The place to which commands can be undone.
    Place(Place, oneshot::Sender<()>),
    /// A check of the user's begins.
    Aside(oneshot::Sender<Beside>),
    /// It is over.
    Back(oneshot::Sender<Beside>),
    /// The end.
    Finish,
}

/// Everything around the core.
pub(super) struct Sockets {
    upstream: Upstream,
    clients: BTreeMap<ClientId, Connection>,
    arrivals: mpsc::Receiver<Arrival>,
    requests: mpsc::Receiver<Request>,
    /// Asks the server to cancel the statement that runs upstream.
    cancel: Box<dyn Fn() + Send>,
    questions: BTreeMap<Question, oneshot::Sender<Answer>>,
    examinations: BTreeMap<Question, oneshot::Sender<Result<Examined, NotExamined>>>,
    places: BTreeMap<Question, oneshot::Sender<()>>,
    turns_aside: BTreeMap<Question, oneshot::Sender<Beside>>,
    ready: VecDeque<Event>,
    patience: Patience,
    recorder: Recorder,
    last_client: u32,
    last_question: u64,
}

struct Upstream {
    stream: Box<dyn Stream>,
    buffer: BytesMut,
    decoder: FrameDecoder,
    closed: bool,
    /// The last read was of a result that fills the server's buffer: there is more of it.
    pours: bool,
}

struct Connection {
    stream: TcpStream,
    buffer: BytesMut,
    decoder: FrameDecoder,
    /// Our own BackendKeyData.
    key: (i32, [u8; 4]),
    /// The core has made an outlet for it; when that is gone again, so is the client.
    served: bool,
    /// It said, or we found, that nothing more will come.
    left: bool,
}

/// How long a client waits for its turn before the core is told.
struct Patience {
    limit: Duration,
    over: Option<Pin<Box<Sleep>>>,
}

impl Sockets {
    pub(super) fn new(
        stream: Box<dyn Stream>,
        cancel: Box<dyn Fn() + Send>,
        arrivals: mpsc::Receiver<Arrival>,
        requests: mpsc::Receiver<Request>,
        patience: Duration,
        recorder: Recorder,
    ) -> Self {
        Self {
            upstream: Upstream {
                stream,
                buffer: BytesMut::new(),
                decoder: FrameDecoder::backend(),
                closed: false,
                pours: false,
            },
            clients: BTreeMap::new(),
            arrivals,
            requests,
            cancel,
            questions: BTreeMap::new(),
            examinations: BTreeMap::new(),
            places: BTreeMap::new(),
            turns_aside: BTreeMap::new(),
            ready: VecDeque::new(),
            patience: Patience {
                limit: patience,
                over: None,
            },
            recorder,
            last_client: 0,
            last_question: 0,
        }
    }

    /// Says what is still to be said to clients, for as long as they listen, and closes everything.
    /// The upstream socket is closed first: the server undoes whatever is open.
    pub(super) async fn close(mut self, mut output: Output) -> Recorder {
        self.record(&mut output);
        drop(self.upstream);
        let clients = &mut self.clients;
        let flushed = poll_fn(|cx| {
            clients.retain(|id, connection| {
                let Some(outlet) = output.clients.get_mut(id) else {
                    return false;
                };
                connection.write(cx, &mut outlet.bytes).is_ok() && !outlet.bytes.is_empty()
            });
            if clients.is_empty() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        // A client that does not read has no right to keep us.
        let _ = tokio::time::timeout(Duration::from_millis(500), flushed).await;
        // From now on the listener says it; these came before it could know.
        self.arrivals.close();
        while let Ok(arrival) = self.arrivals.try_recv() {
            if let Arrival::Client(newcomer) = arrival {
                tokio::spawn(turn_away(newcomer.stream));
            }
        }
        self.recorder
    }

    fn record(&mut self, output: &mut Output) {
        for note in output.notes.drain(..) {
            self.recorder.note(note);
        }
        for (question, answer) in output.answers.drain(..) {
            if let Some(asker) = self.questions.remove(&question) {
                // The asker may have given up.
                let _ = asker.send(answer);
            }
        }
        for (question, answer) in output.examined.drain(..) {
            if let Some(asker) = self.examinations.remove(&question) {
                let _ = asker.send(answer);
            }
        }
        for question in output.placed.drain(..) {
            if let Some(asker) = self.places.remove(&question) {
                let _ = asker.send(());
            }
        }
        for question in output.turned.drain(..) {
            if let Some(asker) = self.turns_aside.remove(&question) {
                let _ = asker.send(self.recorder.beside());
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, output: &mut Output) -> Poll<Event> {
        self.record(output);
        if let Some(event) = self.at_hand(output) {
            return Poll::Ready(event);
        }
        // More is coming: it leaves in fewer and greater writes.
        if self.upstream.pours
            && output
                .clients
                .values()
                .all(|outlet| outlet.bytes.len() < CHUNK)
            && let Poll::Ready(event) = self.upstream.read(cx)
        {
            return Poll::Ready(event);
        }
        self.write_clients(cx, output);
        if self.upstream.write(cx, &mut output.upstream).is_err() {
            self.upstream.closed = true;
            return Poll::Ready(Event::UpstreamClosed);
        }
        // Only now is the server sure to have what is to be cancelled.
        if std::mem::take(&mut output.cancel) {
            (self.cancel)();
        }
        if let Some(event) = self.ready.pop_front() {
            return Poll::Ready(event);
        }
        if is_room_below(output)
            && let Poll::Ready(event) = self.upstream.read(cx)
        {
            return Poll::Ready(event);
        }
        if output.upstream.len() < HIGH_WATER {
            for (id, connection) in &mut self.clients {
                if !may_speak(output, *id) {
                    continue;
                }
                if let Poll::Ready(event) = connection.read(*id, cx) {
                    self.recorder.spoke(*id);
                    return Poll::Ready(event);
                }
            }
        }
        while let Poll::Ready(Some(arrival)) = self.arrivals.poll_recv(cx) {
            if let Some(event) = self.arrive(arrival) {
                return Poll::Ready(event);
            }
        }
        if let Poll::Ready(request) = self.requests.poll_recv(cx) {
            return Poll::Ready(self.request(request));
        }
        self.patience.poll(cx, output.waiting)
    }

    /// What was read already, before anything is written: all the answers that came in one read
    /// leave in one write, and so do all the messages of a batch.
    fn at_hand(&mut self, output: &Output) -> Option<Event> {
        if let Some(event) = self.ready.pop_front() {
            return Some(event);
        }
        if is_room_below(output)
            && let Some(event) = self.upstream.decode()
        {
            return Some(event);
        }
        if output.upstream.len() < HIGH_WATER {
            for (id, connection) in &mut self.clients {
                if may_speak(output, *id)
                    && let Some(event) = connection.decode(*id)
                {
                    return Some(event);
                }
            }
        }
        None
    }

    /// Writes what there is, forgets who is gone.
    fn write_clients(&mut self, cx: &mut Context<'_>, output: &mut Output) {
        let ready = &mut self.ready;
        self.clients.retain(|id, connection| {
            let Some(outlet) = output.clients.get_mut(id) else {
                return !connection.served;
            };
            connection.served = true;
            if connection.write(cx, &mut outlet.bytes).is_err() {
                outlet.bytes.clear();
                if !std::mem::replace(&mut connection.left, true) {
                    ready.push_back(Event::Left(*id));
                }
            }
            if outlet.close && outlet.bytes.is_empty() {
                if !std::mem::replace(&mut connection.left, true) {
                    ready.push_back(Event::Left(*id));
                }
                return false;
            }
            true
        });
    }

    fn arrive(&mut self, arrival: Arrival) -> Option<Event> {
        match arrival {
            Arrival::Client(newcomer) => {
                let Newcomer {
                    stream,
                    buffer,
                    settings,
                    process_id,
                    key,
                } = newcomer;
                self.last_client += 1;
                let id = ClientId(self.last_client);
                self.recorder.joined();
                self.clients.insert(
                    id,
                    Connection {
                        stream,
                        buffer,
                        decoder: FrameDecoder::frontend(),
                        key: (process_id, key),
                        served: false,
                        left: false,
                    },
                );
                Some(Event::Joined(
                    id,
                    Welcome {
                        settings,
                        process_id,
                        key,
                    },
                ))
            }
            Arrival::Cancel(request) => self
                .clients
                .iter()
                .find(|(_, client)| {
                    client.key.0 == request.process_id && client.key.1[..] == request.key[..]
                })
                .map(|(id, _)| Event::Cancel(*id)),
        }
    }

    fn request(&mut self, request: Option<Request>) -> Event {
        match request {
            Some(Request::Ask(sql, asker)) => {
                self.last_question += 1;
                let question = Question(self.last_question);
                self.questions.insert(question, asker);
                Event::Ask(question, sql)
            }
            Some(Request::Examine(examination, asker)) => {
                self.last_question += 1;
                let question = Question(self.last_question);
                self.examinations.insert(question, asker);
                Event::Examine(question, examination)
            }
            Some(Request::Insert(sql, asker)) => {
                self.last_question += 1;
                let question = Question(self.last_question);
                self.examinations.insert(question, asker);
                Event::Insert(question, sql)
            }
            Some(Request::Place(place, asker)) => {
                self.last_question += 1;
                let question = Question(self.last_question);
                self.places.insert(question, asker);
                Event::Place(question, place)
            }
            Some(Request::Aside(asker)) => self.turn_aside(asker, true),
            Some(Request::Back(asker)) => self.turn_aside(asker, false),
            // Whoever opened the rehearsal is gone: nobody is left to finish it.
            Some(Request::Finish) | None => Event::Finish,
        }
    }
}

impl Sockets {
    fn turn_aside(&mut self, asker: oneshot::Sender<Beside>, begins: bool) -> Event {
        self.last_question += 1;
        let question = Question(self.last_question);
        self.turns_aside.insert(question, asker);
        Event::Aside(question, begins)
    }
}

/// Whoever hears what upstream says takes it. Others that do not read have no part in that.
fn is_room_below(output: &Output) -> bool {
    let outlet = output.served.and_then(|id| output.clients.get(&id));
    outlet.is_none_or(|outlet| !outlet.is_clogged())
}

/// The core has let the client in, and takes what it says.
fn may_speak(output: &Output, id: ClientId) -> bool {
    output
        .clients
        .get(&id)
        .is_some_and(|outlet| !outlet.full && !outlet.close)
}

impl Surroundings for Sockets {
    async fn next(&mut self, output: &mut Output) -> Event {
        let alert = !self.upstream.pours;
        lookout::wait(|cx| self.poll(cx, output), alert).await
    }
}

impl Upstream {
    fn write(&mut self, cx: &mut Context<'_>, bytes: &mut BytesMut) -> std::io::Result<()> {
        if self.closed {
            return Ok(());
        }
        write(Pin::new(&mut self.stream), cx, bytes)
    }

    /// The next piece of what was read.
    fn decode(&mut self) -> Option<Event> {
        match self.decoder.decode(&mut self.buffer) {
            Ok(Some(piece)) => return Some(Event::Upstream(piece)),
            Ok(None) => {}
            Err(_) => self.closed = true,
        }
        self.closed.then_some(Event::UpstreamClosed)
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        loop {
            if let Some(event) = self.decode() {
                return Poll::Ready(event);
            }
            self.buffer.reserve(CHUNK);
            match ready!(poll_read_buf(
                Pin::new(&mut self.stream),
                cx,
                &mut self.buffer
            )) {
                Ok(0) | Err(_) => self.closed = true,
                Ok(count) => self.pours = count >= POURING,
            }
        }
    }
}

impl Connection {
    fn write(&mut self, cx: &mut Context<'_>, bytes: &mut BytesMut) -> std::io::Result<()> {
        write(Pin::new(&mut self.stream), cx, bytes)
    }

    /// The next piece of what was read.
    fn decode(&mut self, id: ClientId) -> Option<Event> {
        if self.left {
            return None;
        }
        match self.decoder.decode(&mut self.buffer) {
            Ok(piece) => piece.map(|piece| Event::Client(id, piece)),
            Err(_) => {
                self.left = true;
                Some(Event::Left(id))
            }
        }
    }

    fn read(&mut self, id: ClientId, cx: &mut Context<'_>) -> Poll<Event> {
        loop {
            if let Some(event) = self.decode(id) {
                return Poll::Ready(event);
            }
            if self.left {
                return Poll::Pending;
            }
            self.buffer.reserve(CHUNK);
            match ready!(poll_read_buf(
                Pin::new(&mut self.stream),
                cx,
                &mut self.buffer
            )) {
                Ok(0) | Err(_) => {
                    self.left = true;
                    return Poll::Ready(Event::Left(id));
                }
                Ok(_) => {}
            }
        }
    }
}

impl Patience {
    fn poll(&mut self, cx: &mut Context<'_>, waiting: bool) -> Poll<Event> {
        if !waiting {
            self.over = None;
            return Poll::Pending;
        }
        let limit = self.limit;
        let over = self
            .over
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + limit)));
        ready!(over.as_mut().poll(cx));
        self.over = None;
        Poll::Ready(Event::Impatient)
    }
}

/// Writes as much as the socket takes.
fn write<W: AsyncWrite + ?Sized>(
    mut stream: Pin<&mut W>,
    cx: &mut Context<'_>,
    bytes: &mut BytesMut,
) -> std::io::Result<()> {
    let mut wrote = false;
    while !bytes.is_empty() {
        match stream.as_mut().poll_write(cx, bytes) {
            Poll::Ready(Ok(0)) => return Err(std::io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(count)) => {
                bytes.advance(count);
                wrote = true;
            }
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => break,
        }
    }
    // TLS keeps bytes until it is flushed.
    if wrote && let Poll::Ready(Err(error)) = stream.poll_flush(cx) {
        return Err(error);
    }
    Ok(())
}
