-- What docker-compose.yml needs beyond deploy/sql/role.sql.
-- For a trial on one machine only.
ALTER ROLE wal2graph PASSWORD 'wal2graph';

-- A pipeline for `run`, and one for the profile `kafka`. Each has its publication.
CREATE PUBLICATION wal2graph_shop
    FOR TABLE categories, products, customers, employees, orders, order_lines, page_views
    WITH (publish_via_partition_root = true);
CREATE PUBLICATION wal2graph_shop_kafka
    FOR TABLE categories, products, customers, employees, orders, order_lines, page_views
    WITH (publish_via_partition_root = true);
