-- Tables of a small trading company, in the shape that graph examples often use. Written for this test.
CREATE TABLE nw_categories (
    category_id smallint PRIMARY KEY,
    category_name text NOT NULL,
    description text
);
CREATE TABLE nw_suppliers (
    supplier_id smallint PRIMARY KEY,
    company_name text NOT NULL,
    country text NOT NULL,
    homepage text
);
CREATE TABLE nw_products (
    product_id smallint PRIMARY KEY,
    product_name text NOT NULL,
    supplier_id smallint NOT NULL REFERENCES nw_suppliers,
    category_id smallint NOT NULL REFERENCES nw_categories,
    unit_price numeric(10, 2) NOT NULL,
    units_in_stock smallint,
    discontinued boolean NOT NULL
);
CREATE TABLE nw_customers (
    customer_id char(5) PRIMARY KEY,
    company_name text NOT NULL,
    city text NOT NULL,
    region text
);
CREATE TABLE nw_employees (
    employee_id smallint PRIMARY KEY,
    last_name text NOT NULL,
    birth_date date,
    reports_to smallint REFERENCES nw_employees
);
CREATE TABLE nw_regions (
    region_id smallint PRIMARY KEY,
    region_description text NOT NULL
);
CREATE TABLE nw_territories (
    territory_id text PRIMARY KEY,
    region_id smallint NOT NULL REFERENCES nw_regions
);
CREATE TABLE nw_employee_territories (
    employee_id smallint NOT NULL REFERENCES nw_employees,
    territory_id text NOT NULL REFERENCES nw_territories,
    PRIMARY KEY (employee_id, territory_id)
);
CREATE TABLE nw_shippers (
    shipper_id smallint PRIMARY KEY,
    company_name text NOT NULL
);
CREATE TABLE nw_orders (
    order_id integer PRIMARY KEY,
    customer_id char(5) NOT NULL REFERENCES nw_customers,
    employee_id smallint NOT NULL REFERENCES nw_employees,
    ship_via smallint NOT NULL REFERENCES nw_shippers,
    order_date date NOT NULL,
    shipped_date date,
    freight numeric(10, 2) NOT NULL
);
CREATE TABLE nw_order_details (
    order_id integer NOT NULL REFERENCES nw_orders,
    product_id smallint NOT NULL REFERENCES nw_products,
    unit_price numeric(10, 2) NOT NULL,
    quantity smallint NOT NULL,
    discount real NOT NULL,
    PRIMARY KEY (order_id, product_id)
);
