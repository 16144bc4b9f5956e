-- A table made, indexed, joined with itself and summed up; :rows says how large it is.
CREATE TABLE item (id INTEGER PRIMARY KEY, kind INTEGER, weight INTEGER, name TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :rows)
INSERT INTO item SELECT i, i * 7919 % 97, i * 104729 % 10007, 'item ' || (i * 31 % 1009) FROM n;
CREATE INDEX by_kind ON item (kind, weight);
SELECT kind, count(*), sum(weight), min(name), max(name) FROM item GROUP BY kind ORDER BY kind;
SELECT count(*), sum(a.weight * b.weight % 13) FROM item a JOIN item b ON a.kind = b.kind AND b.id = a.weight;
UPDATE item SET weight = weight + 1 WHERE name LIKE '%7%';
DELETE FROM item WHERE id % 3 = 0;
SELECT name, avg(weight) FROM item GROUP BY name ORDER BY 2 DESC, 1 LIMIT 20;
