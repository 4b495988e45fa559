import type { Metadata, Viewport } from "next";
import type { ReactNode } from "react";

import { AnalysesProvider } from "@/components/analyse/AnalysesProvider";
import { Header } from "@/components/shared/Header";
import "./globals.css";

export const metadata: Metadata = {
  title: { default: "Prism", template: "%s · Prism" },
  description: "Describes pictures and videos, transcribes speech, and finds documents again, on this machine.",
};

export const viewport: Viewport = { width: "device-width", initialScale: 1 };

export default function RootLayout({ children }: { children: ReactNode }) {
  return (
    <html lang="en">
      <body>
        <a className="skip-link" href="#content">
          Skip to the content
        </a>
        <Header />
        <main id="content" tabIndex={-1}>
          <AnalysesProvider>{children}</AnalysesProvider>
        </main>
      </body>
    </html>
  );
}
