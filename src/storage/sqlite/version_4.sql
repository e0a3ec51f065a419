-- Schema version 4. Never edit a published version; append a migration instead.
-- The program fills the index. Without contentless_delete, a removal names the removed words, and
-- secure-delete takes them out of the pages of the index at once.
DROP TABLE words;
CREATE VIRTUAL TABLE words USING fts5 (
    message, author,
    content='', prefix='2 3', tokenize="ascii tokenchars '#$%&*+<=>@^`|~'"
);
INSERT INTO words (words, rank) VALUES ('secure-delete', 1);
