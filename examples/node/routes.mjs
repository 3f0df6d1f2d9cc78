// The routes of a small chat. What Hangup asks of them is the line with recordActivity.
import { DeleteItemCommand, DynamoDBClient, PutItemCommand } from "@aws-sdk/client-dynamodb";
import { recordActivity } from "./record-activity.mjs";

const dynamodb = new DynamoDBClient({});
const TableName = process.env.CONNECTIONS_TABLE;

export async function connect(event) {
  const { connectionId } = event.requestContext;
  const Item = { connectionId: { S: connectionId }, connectedAt: { N: `${Date.now()}` } };
  await dynamodb.send(new PutItemCommand({ TableName, Item }));
  return { statusCode: 200 };
}

export async function message(event) {
  await recordActivity(event);
  return { statusCode: 200, body: event.body };
}

/** Forget a connection. API Gateway calls this for $disconnect, and Hangup with an event of the same shape. */
export async function disconnect(event) {
  const { connectionId, eventType } = event.requestContext;
  // A client may send a message whose action is "$disconnect".
  if (eventType !== "DISCONNECT") return { statusCode: 400 };
  await dynamodb.send(new DeleteItemCommand({ TableName, Key: { connectionId: { S: connectionId } } }));
  return { statusCode: 200 };
}
