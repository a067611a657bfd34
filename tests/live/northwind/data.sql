-- The rows, by rules: 8 categories, 29 suppliers, 77 products, 91 customers, 830 orders, 2155 order lines.
INSERT INTO nw_categories
    SELECT n, (ARRAY['Tea', 'Spices', 'Bread', 'Cheese', 'Fruit', 'Pasta', 'Fish', 'Oils'])[n],
        CASE WHEN n % 3 > 0 THEN 'shelf ' || n END
    FROM generate_series(1, 8) n;
INSERT INTO nw_suppliers
    SELECT n, 'Maker ' || n, (ARRAY['Chile', 'Ghana', 'Norway', 'Japan'])[1 + n % 4],
        CASE WHEN n % 5 = 0 THEN 'https://maker-' || n || '.example/größe' END
    FROM generate_series(1, 29) n;
INSERT INTO nw_products
    SELECT n, 'Product ' || n, 1 + n * 11 % 29, 1 + n * 5 % 8, (n * 137 % 9000) / 100.0 + 0.5,
        CASE WHEN n % 7 > 0 THEN n * 31 % 125 END, n % 10 = 0
    FROM generate_series(1, 77) n;
INSERT INTO nw_customers
    SELECT 'C' || chr(65 + n % 26) || chr(65 + n / 26) || chr(65 + n * 7 % 26) || 'X', 'Shop ' || n,
        'Town ' || n % 40, CASE WHEN n % 4 = 0 THEN 'Region ' || n % 6 END
    FROM generate_series(1, 91) n;
INSERT INTO nw_employees
    SELECT n, 'Person ' || n, date '1960-02-29' + n * 400, CASE WHEN n <> 2 THEN CASE WHEN n > 5 THEN 5 ELSE 2 END END
    FROM generate_series(1, 9) n ORDER BY n <> 2, n;
INSERT INTO nw_regions SELECT n, 'Part ' || n FROM generate_series(1, 4) n;
INSERT INTO nw_territories SELECT to_char(n * 1009, 'FM00000'), 1 + n % 4 FROM generate_series(1, 53) n;
INSERT INTO nw_employee_territories
    SELECT 1 + n % 9, to_char(n * 1009, 'FM00000') FROM generate_series(1, 49) n;
INSERT INTO nw_shippers SELECT n, 'Carrier ' || n FROM generate_series(1, 3) n;
INSERT INTO nw_orders
    SELECT 10000 + n, c.customer_id, 1 + n % 9, 1 + n % 3, date '2023-07-04' + n * 2 / 3,
        CASE WHEN n < 810 THEN date '2023-07-09' + n * 2 / 3 END, (n * 7919 % 40000) / 100.0
    FROM generate_series(1, 830) n
    JOIN (SELECT customer_id, row_number() OVER (ORDER BY customer_id) AS number FROM nw_customers) c
        ON c.number = 1 + n * 17 % 91;
INSERT INTO nw_order_details
    SELECT 10000 + n, p.product_id, p.unit_price, 1 + (n + line) % 60, (ARRAY[0, 0.05, 0.1, 0.15, 0.2])[1 + n % 5]
    FROM generate_series(1, 830) n, generate_series(0, CASE WHEN n <= 495 THEN 2 ELSE 1 END) line
    JOIN nw_products p ON true
    WHERE p.product_id = 1 + (n * 7 + line * 26) % 77;
