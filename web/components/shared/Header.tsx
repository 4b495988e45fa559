"use client";

import Link from "next/link";
import { usePathname } from "next/navigation";

import { ServerState } from "@/components/server/ServerState";
import styles from "./Header.module.css";

const SECTIONS = [
  { href: "/", name: "Analyse" },
  { href: "/library/", name: "Library" },
];

/** The name, the sections and the server's state. */
export function Header() {
  const path = usePathname();
  return (
    <header className={styles.header}>
      <h1>Prism</h1>
      <nav aria-label="Sections">
        {SECTIONS.map(({ href, name }) => (
          <Link key={href} href={href} aria-current={path === href ? "page" : undefined}>
            {name}
          </Link>
        ))}
      </nav>
      <ServerState />
    </header>
  );
}
