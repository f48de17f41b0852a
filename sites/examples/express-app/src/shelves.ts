import { Router } from "express";

interface Book {
  readonly id: number;
  readonly title: string;
}

const BOOKS: Readonly<Record<string, ReadonlyArray<Book>>> = {
  sea: [
    { id: 1, title: "The Sea-Wolf" },
    { id: 2, title: "Twenty Thousand Leagues under the Seas" },
  ],
  sky: [{ id: 3, title: "The Night Sky in August" }],
};

/** Mounted under `/shelves/:shelf/books`: `mergeParams` lets it see `shelf`. */
export const shelves = Router({ mergeParams: true });

shelves.use((request, response, next) => {
  const { shelf } = request.params as { shelf: string };
  if (Object.hasOwn(BOOKS, shelf)) next();
  else response.status(404).json({ error: `no shelf ${shelf}` });
});

shelves.get("/", (request, response) => {
  const { shelf } = request.params as { shelf: string };
  response.json(BOOKS[shelf] ?? []);
});

shelves.get("/:id", (request, response) => {
  const { shelf, id } = request.params as { shelf: string; id: string };
  const book = BOOKS[shelf]?.find((candidate) => String(candidate.id) === id);
  if (book === undefined) response.status(404).json({ error: `no book ${id} on ${shelf}` });
  else response.json(book);
});
