-- A small trading company: customers order products, employees report to each other.
CREATE TABLE categories (
    id int PRIMARY KEY,
    name text NOT NULL
);
CREATE TABLE products (
    id int PRIMARY KEY,
    name text NOT NULL,
    category_id int REFERENCES categories,
    unit_price numeric(10, 2) NOT NULL,
    discontinued boolean NOT NULL DEFAULT false
);
CREATE TABLE customers (
    id int PRIMARY KEY,
    company text NOT NULL,
    city text,
    phone text
);
CREATE TABLE employees (
    id int PRIMARY KEY,
    name text NOT NULL,
    hired date NOT NULL,
    reports_to int REFERENCES employees
);
CREATE TABLE orders (
    id int PRIMARY KEY,
    customer_id int REFERENCES customers ON UPDATE CASCADE ON DELETE CASCADE,
    employee_id int REFERENCES employees,
    placed_at timestamptz NOT NULL,
    shipped_at timestamptz
);
CREATE TABLE order_lines (
    order_id int REFERENCES orders ON DELETE CASCADE,
    product_id int REFERENCES products,
    quantity int NOT NULL,
    unit_price numeric(10, 2) NOT NULL,
    PRIMARY KEY (order_id, product_id)
);
CREATE TABLE page_views (
    id bigint PRIMARY KEY,
    product_id int REFERENCES products,
    seen_at timestamptz NOT NULL
);

INSERT INTO categories
SELECT n, name
FROM unnest(ARRAY['Beverages', 'Condiments', 'Confections', 'Dairy', 'Grains', 'Meat', 'Produce', 'Seafood'])
    WITH ORDINALITY AS given (name, n);
INSERT INTO products
SELECT n, 'Product ' || n, 1 + n % 8, 2 + (n * 37 % 500) / 10.0, n % 11 = 0
FROM generate_series(1, 80) n;
INSERT INTO customers
SELECT n, 'Company ' || n, (ARRAY['Berlin', 'London', 'Madrid', 'Oslo', 'Porto'])[1 + n % 5],
    CASE WHEN n % 4 > 0 THEN '555-' || lpad(n::text, 4, '0') END
FROM generate_series(1, 200) n;
INSERT INTO employees
SELECT n, 'Employee ' || n, date '2015-01-01' + n * 20, NULLIF(n / 3, 0)
FROM generate_series(1, 30) n;
INSERT INTO orders
SELECT n, 1 + n * 13 % 200, 1 + n * 7 % 30, timestamptz '2026-01-01' + n * interval '3 hours',
    CASE WHEN n % 5 > 0 THEN timestamptz '2026-01-03' + n * interval '3 hours' END
FROM generate_series(1, 1500) n;
INSERT INTO order_lines
SELECT o, 1 + (o * 11 + line * 29) % 80, 1 + (o + line) % 9, 2 + (o * line % 300) / 10.0
FROM generate_series(1, 1500) o, generate_series(1, 3) line;
INSERT INTO page_views
SELECT n, 1 + n * 17 % 80, timestamptz '2026-06-01' + n * interval '1 minute'
FROM generate_series(1, 2000) n;
ANALYZE;
