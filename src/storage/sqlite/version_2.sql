-- Schema version 2. Never edit a published version; append a migration instead.
-- The program fills the index: its words are folded anew, and only spaces separate them.
DROP TABLE words;
CREATE VIRTUAL TABLE words USING fts5 (
    message, author,
    content='', contentless_delete=1, prefix='2 3', tokenize="ascii tokenchars '#$%&*+<=>@^`|~'"
);
