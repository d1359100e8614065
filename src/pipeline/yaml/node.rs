//! A YAML document as a tree with places. What an anchor names is in memory once, however often it is used.

use std::rc::Rc;

/// One node.
#[derive(Debug)]
pub(super) struct Node {
    /// From 1, in the whole text; of an alias: where its anchor is.
    pub line: u32,
    pub content: Content,
    pub weight: Weight,
}

#[derive(Debug)]
pub(super) enum Content {
    Scalar(Scalar),
    List(Vec<Rc<Node>>),
    /// In the text's order, doubled keys included.
    Map(Vec<Entry>),
}

#[derive(Debug)]
pub(super) struct Scalar {
    pub text: String,
    /// Without quotes, so that it may mean something other than its text.
    pub plain: bool,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub line: u32,
    pub key: Scalar,
    pub value: Rc<Node>,
}

/// What a node would be with each alias written out: a reader walks that, so that is what has bounds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Weight {
    pub nodes: usize,
    pub text_bytes: usize,
    /// 1: a scalar or an empty collection.
    pub depth: usize,
}

// === impl Node ===

impl Node {
    pub fn is_null(&self) -> bool {
        matches!(&self.content, Content::Scalar(scalar) if scalar.is_null())
    }

    /// What it is, for a message.
    pub fn what(&self) -> &'static str {
        match &self.content {
            Content::Scalar(scalar) if scalar.is_null() => "empty",
            Content::Scalar(_) => "a text",
            Content::List(_) => "a list",
            Content::Map(_) => "a mapping",
        }
    }
}

// === impl Scalar ===

impl Scalar {
    pub fn is_null(&self) -> bool {
        self.plain && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }

    /// Whether it merges mappings into its own.
    pub fn is_merge(&self) -> bool {
        self.plain && self.text == "<<"
    }

    /// True or false in the words of YAML 1.1, which Drone's files are written in.
    pub fn as_bool(&self) -> Option<bool> {
        match self.text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" => Some(true),
            "false" | "no" | "off" | "n" => Some(false),
            _ => None,
        }
    }
}

// === impl Weight ===

impl Weight {
    pub fn scalar(text: &str) -> Self {
        Self { nodes: 1, text_bytes: text.len(), depth: 1 }
    }

    /// An empty collection.
    pub fn collection() -> Self {
        Self { nodes: 1, text_bytes: 0, depth: 1 }
    }

    pub fn add(&mut self, child: Self) {
        self.nodes = self.nodes.saturating_add(child.nodes);
        self.text_bytes = self.text_bytes.saturating_add(child.text_bytes);
        self.depth = self.depth.max(child.depth.saturating_add(1));
    }
}
