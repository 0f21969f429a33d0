CREATE SCHEMA IF NOT EXISTS iceberg.demo;
CREATE TABLE IF NOT EXISTS iceberg.demo.lakes (name varchar, country varchar, depth_m integer, surveyed date)
    WITH (partitioning = ARRAY['country']);
INSERT INTO iceberg.demo.lakes
    SELECT * FROM (VALUES
        ('Baikal', 'Russia', 1642, DATE '2008-07-29'),
        ('Tanganyika', 'Africa', 1470, DATE '2017-01-31'),
        ('Caspian Sea', 'Asia', 1025, DATE '2009-05-12'),
        ('Vostok', 'Antarctica', 900, DATE '2012-02-05'),
        ('O''Higgins/San Martín', 'Chile', 836, DATE '2001-11-20')) AS measured (name, country, depth_m, surveyed)
    WHERE name NOT IN (SELECT name FROM iceberg.demo.lakes);
