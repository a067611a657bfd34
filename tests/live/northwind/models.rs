//! What the tables become: by the mapping file, and by inference.

/// A node table and its label.
pub struct Nodes {
    pub label: &'static str,
    pub table: &'static str,
    pub key: &'static str,
    /// A column that is exact text in the graph, and a number in JSON.
    pub numeric: Option<&'static str>,
    /// What the key is compared by stands beside it.
    pub compared: bool,
}

/// Relationships between two labels.
pub struct Relationships {
    pub from: &'static str,
    pub kind: &'static str,
    pub to: &'static str,
    /// Gives the start's key, the end's key and the properties, as text.
    pub sql: &'static str,
}

const fn nodes(label: &'static str, table: &'static str, key: &'static str) -> Nodes {
    Nodes { label, table, key, numeric: None, compared: false }
}

const fn relationships(
    from: &'static str,
    kind: &'static str,
    to: &'static str,
    sql: &'static str,
) -> Relationships {
    Relationships { from, kind, to, sql }
}

/// The first five are the well-known ones.
const NODES: &[Nodes] = &[
    Nodes { numeric: Some("unit_price"), ..nodes("Product", "nw_products", "product_id") },
    nodes("Category", "nw_categories", "category_id"),
    nodes("Supplier", "nw_suppliers", "supplier_id"),
    Nodes { compared: true, ..nodes("Customer", "nw_customers", "customer_id") },
    Nodes { numeric: Some("freight"), ..nodes("Order", "nw_orders", "order_id") },
    nodes("Employee", "nw_employees", "employee_id"),
    nodes("Region", "nw_regions", "region_id"),
    nodes("Territory", "nw_territories", "territory_id"),
    nodes("Shipper", "nw_shippers", "shipper_id"),
];

pub const WELL_KNOWN_NODES: &[Nodes] = NODES.split_at(5).0;
pub const INFERRED_NODES: &[Nodes] = NODES;

pub const WELL_KNOWN_RELATIONSHIPS: &[Relationships] = &[
    relationships(
        "Product",
        "PART_OF",
        "Category",
        "SELECT product_id::text, category_id::text, '{}' FROM nw_products",
    ),
    relationships(
        "Supplier",
        "SUPPLIES",
        "Product",
        "SELECT supplier_id::text, product_id::text, '{}' FROM nw_products",
    ),
    relationships(
        "Customer",
        "PURCHASED",
        "Order",
        "SELECT customer_id::text, order_id::text, '{}' FROM nw_orders",
    ),
    relationships("Order", "ORDERS", "Product", ORDER_LINES),
];

pub const INFERRED_RELATIONSHIPS: &[Relationships] = &[
    relationships(
        "Product",
        "CATEGORY",
        "Category",
        "SELECT product_id::text, category_id::text, '{}' FROM nw_products",
    ),
    relationships(
        "Product",
        "SUPPLIER",
        "Supplier",
        "SELECT product_id::text, supplier_id::text, '{}' FROM nw_products",
    ),
    relationships(
        "Order",
        "CUSTOMER",
        "Customer",
        "SELECT order_id::text, customer_id::text, '{}' FROM nw_orders",
    ),
    relationships(
        "Order",
        "EMPLOYEE",
        "Employee",
        "SELECT order_id::text, employee_id::text, '{}' FROM nw_orders",
    ),
    relationships(
        "Order",
        "SHIP_VIA",
        "Shipper",
        "SELECT order_id::text, ship_via::text, '{}' FROM nw_orders",
    ),
    relationships(
        "Employee",
        "REPORTS_TO",
        "Employee",
        "SELECT employee_id::text, reports_to::text, '{}' FROM nw_employees WHERE reports_to IS NOT NULL",
    ),
    relationships(
        "Territory",
        "REGION",
        "Region",
        "SELECT territory_id, region_id::text, '{}' FROM nw_territories",
    ),
    relationships(
        "Employee",
        "NW_EMPLOYEE_TERRITORIES",
        "Territory",
        "SELECT employee_id::text, territory_id, '{}' FROM nw_employee_territories",
    ),
    relationships("Order", "NW_ORDER_DETAILS", "Product", ORDER_LINES),
];

const ORDER_LINES: &str = "SELECT order_id::text, product_id::text, jsonb_build_object( \
    'unit_price', unit_price::text, 'quantity', quantity, 'discount', discount)::text FROM nw_order_details";
