//! Text to trees, within bounds: the parser's events are taken one by one, and the first that exceeds one ends it.

use std::{collections::BTreeMap, rc::Rc};

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

use super::{
    Place,
    mistake::{Mistake, Mistakes, shown},
    node::{Content, Entry, Node, Scalar, Weight},
};

/// Bytes of a configuration, before and after the expansion of variables; no file that people keep comes near.
pub const TEXT_BYTES_MAX: usize = 1 << 20;
/// Documents of one configuration.
pub const DOCUMENTS_MAX: usize = 256;
/// Nodes of a configuration, and of one document with all aliases written out: 1,024 steps of a hundred nodes each.
pub const NODES_MAX: usize = 100_000;
/// Bytes of a document's texts with all aliases written out.
pub const WRITTEN_OUT_BYTES_MAX: usize = 4 * TEXT_BYTES_MAX;
/// Collections inside one another; a pipeline needs six.
pub const DEPTH_MAX: usize = 32;

/// Text from a line that begins with it on is no part of the configuration.
const END: &str = "...";

/// One document.
pub(super) struct Document {
    /// From 1.
    pub number: u32,
    pub root: Rc<Node>,
}

/// All documents.
///
/// # Errors
/// The first place that is no YAML, or beyond a bound.
pub(super) fn load(text: &str) -> Result<Vec<Document>, Mistakes> {
    if text.len() > TEXT_BYTES_MAX {
        let reason = format!("the configuration has more than {TEXT_BYTES_MAX} bytes");
        return Err(Mistake::new(Place { document: 1, line: 1 }, reason).into());
    }
    Loader::default().load(before_end(text))
}

fn before_end(text: &str) -> &str {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if line.starts_with(END) {
            return &text[..at];
        }
        at += line.len();
    }
    text
}

#[derive(Default)]
struct Loader {
    documents: Vec<Document>,
    /// From 1, of the document being read.
    number: u32,
    open: Vec<Collection>,
    /// Finished nodes of this document that have one, by the parser's number. One that is still open is not there, so that no node
    /// holds itself.
    anchors: BTreeMap<usize, Rc<Node>>,
    root: Option<Rc<Node>>,
    /// Nodes of all documents, without what aliases repeat.
    made: usize,
}

/// A list or mapping whose end has not come.
struct Collection {
    anchor: usize,
    line: u32,
    weight: Weight,
    content: Content,
    /// The mapping's key whose value comes next.
    key: Option<(u32, Scalar)>,
}

// === impl Loader ===

impl Loader {
    fn load(mut self, text: &str) -> Result<Vec<Document>, Mistakes> {
        for event in Parser::new_from_str(text) {
            match event {
                Ok((event, span)) => self.take(event, line(span))?,
                Err(error) => return Err(self.broken(&error)),
            }
        }
        Ok(self.documents)
    }

    fn take(&mut self, event: Event<'_>, line: u32) -> Result<(), Mistakes> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd => Ok(()),
            Event::DocumentStart(_) => self.start_document(line),
            Event::DocumentEnd => {
                self.end_document();
                Ok(())
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return Err(
                        self.mistake(line, "the alias names no anchor above it in this document, or one that it is in")
                    );
                };
                self.put(node, line)
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.check(tag.as_deref(), line)?;
                let weight = Weight::scalar(&text);
                // A tag says that the text is meant, whatever it looks like.
                let plain =
                    style == ScalarStyle::Plain && !tag.is_some_and(|tag| tag.suffix == "str" || tag.suffix == "!");
                self.finish(
                    anchor,
                    Node { line, content: Content::Scalar(Scalar { text: text.into_owned(), plain }), weight },
                    line,
                )
            }
            Event::SequenceStart(anchor, tag) => self.start(Content::List(Vec::new()), anchor, tag.as_deref(), line),
            Event::MappingStart(anchor, tag) => self.start(Content::Map(Vec::new()), anchor, tag.as_deref(), line),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Collection { anchor, line: start, weight, content, .. }) => {
                    self.finish(anchor, Node { line: start, content, weight }, line)
                }
                None => Err(self.mistake(line, "a collection ends that never began")),
            },
        }
    }

    fn start_document(&mut self, line: u32) -> Result<(), Mistakes> {
        self.number += 1;
        self.anchors.clear();
        self.root = None;
        if self.documents.len() == DOCUMENTS_MAX {
            return Err(self.mistake(line, format!("at most {DOCUMENTS_MAX} documents are read")));
        }
        Ok(())
    }

    fn end_document(&mut self) {
        let number = self.number;
        self.documents.extend(self.root.take().map(|root| Document { number, root }));
    }

    fn start(&mut self, content: Content, anchor: usize, tag: Option<&Tag>, line: u32) -> Result<(), Mistakes> {
        self.check(tag, line)?;
        if self.open.len() >= DEPTH_MAX {
            return Err(self.mistake(line, format!("more than {DEPTH_MAX} collections are inside one another")));
        }
        self.open.push(Collection { anchor, line, weight: Weight::collection(), content, key: None });
        Ok(())
    }

    fn finish(&mut self, anchor: usize, node: Node, line: u32) -> Result<(), Mistakes> {
        self.made += 1;
        if self.made > NODES_MAX {
            return Err(self.mistake(line, format!("the configuration has more than {NODES_MAX} nodes")));
        }
        let node = Rc::new(node);
        // 0: none.
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        self.put(node, line)
    }

    /// Puts a whole node where it belongs.
    fn put(&mut self, node: Rc<Node>, line: u32) -> Result<(), Mistakes> {
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        parent.weight.add(node.weight);
        // Those around it are heavier still; that shows when it ends.
        let weight = parent.weight;
        let key_missing = match &mut parent.content {
            Content::List(items) => {
                items.push(node);
                false
            }
            Content::Map(entries) => match parent.key.take() {
                Some((line, key)) => {
                    entries.push(Entry { line, key, value: node });
                    false
                }
                None => match &node.content {
                    Content::Scalar(key) => {
                        parent.key = Some((line, Scalar { text: key.text.clone(), plain: key.plain }));
                        false
                    }
                    _ => true,
                },
            },
            Content::Scalar(_) => false,
        };
        if key_missing {
            return Err(self.mistake(line, "a key of a mapping is a collection; only texts can be keys"));
        }
        self.weigh(weight, line)
    }

    fn weigh(&self, weight: Weight, line: u32) -> Result<(), Mistakes> {
        let with_aliases = "with its aliases written out";
        if weight.nodes > NODES_MAX {
            return Err(self.mistake(line, format!("the document has more than {NODES_MAX} nodes {with_aliases}")));
        }
        if weight.text_bytes > WRITTEN_OUT_BYTES_MAX {
            let reason = format!("the document has more than {WRITTEN_OUT_BYTES_MAX} bytes {with_aliases}");
            return Err(self.mistake(line, reason));
        }
        if weight.depth > DEPTH_MAX {
            let reason = format!("more than {DEPTH_MAX} collections are inside one another {with_aliases}");
            return Err(self.mistake(line, reason));
        }
        Ok(())
    }

    /// Tags of YAML's own types are obeyed or say nothing new; others mean something that is not known here.
    fn check(&self, tag: Option<&Tag>, line: u32) -> Result<(), Mistakes> {
        const KNOWN: [&str; 7] = ["str", "int", "bool", "float", "null", "seq", "map"];
        match tag {
            Some(tag) if tag.suffix == "!" || (tag.is_yaml_core_schema() && KNOWN.contains(&tag.suffix.as_str())) => {
                Ok(())
            }
            Some(tag) => {
                Err(self.mistake(line, format!("the tag {} is not known; leave it out", shown(&tag.to_string()))))
            }
            None => Ok(()),
        }
    }

    fn broken(&self, error: &ScanError) -> Mistakes {
        let line = u32::try_from(error.marker().line()).unwrap_or(u32::MAX);
        let column = error.marker().col() + 1;
        self.mistake(line, format!("no YAML at column {column}: {}", error.info().escape_debug()))
    }

    fn mistake(&self, line: u32, reason: impl Into<String>) -> Mistakes {
        Mistake::new(Place { document: self.number.max(1), line }, reason).into()
    }
}

fn line(span: Span) -> u32 {
    u32::try_from(span.start.line()).unwrap_or(u32::MAX)
}
