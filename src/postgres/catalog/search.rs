//! Text search.

use super::kind::Kind;

pub(super) fn kinds() -> Vec<Kind> {
    vec![
        Kind::new("ts_config")
            .identity("quote_ident(n.nspname)||'.'||quote_ident(c.cfgname)")
            .field("owner", "pg_get_userbyid(c.cfgowner)")
            .field("parser", "(SELECT prsname FROM pg_ts_parser WHERE oid=c.cfgparser)")
            .field("map", "(SELECT jsonb_agg(jsonb_build_array(m.maptokentype,m.mapseqno,m.mapdict::regdictionary::text) ORDER BY m.maptokentype,m.mapseqno) FROM pg_ts_config_map m WHERE m.mapcfg=c.oid)")
            .from("pg_ts_config c JOIN pg_namespace n ON n.oid=c.cfgnamespace")
            .only("c.oid>=16384"),
        Kind::new("ts_dict")
            .identity("quote_ident(n.nspname)||'.'||quote_ident(d.dictname)")
            .field("owner", "pg_get_userbyid(d.dictowner)")
            .field("tmpl", "(SELECT tmplname FROM pg_ts_template WHERE oid=d.dicttemplate)")
            .field("opt", "d.dictinitoption")
            .from("pg_ts_dict d JOIN pg_namespace n ON n.oid=d.dictnamespace")
            .only("d.oid>=16384"),
        Kind::new("ts_parser")
            .identity("quote_ident(n.nspname)||'.'||quote_ident(p.prsname)")
            .field("a", "p.prsstart::text")
            .field("b", "p.prstoken::text")
            .field("c", "p.prsend::text")
            .field("d", "p.prsheadline::text")
            .field("e", "p.prslextype::text")
            .from("pg_ts_parser p JOIN pg_namespace n ON n.oid=p.prsnamespace")
            .only("p.oid>=16384"),
        Kind::new("ts_template")
            .identity("quote_ident(n.nspname)||'.'||quote_ident(p.tmplname)")
            .field("a", "p.tmplinit::text")
            .field("b", "p.tmpllexize::text")
            .from("pg_ts_template p JOIN pg_namespace n ON n.oid=p.tmplnamespace")
            .only("p.oid>=16384"),
    ]
}
